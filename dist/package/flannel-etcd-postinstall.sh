#!/bin/sh
# After an installation ("configure" without a version, or 1) and after an upgrade. A person
# enables and starts it, once its addresses are in /etc/default/flannel-etcd.
set -e

[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || :
case "$1${2:+ }$2" in
configure | 1) ;;
*) systemctl try-restart flannel-etcd.service || : ;;
esac
