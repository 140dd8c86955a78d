#!/bin/sh
# Before a removal (deb: remove, rpm: 0), and not before an upgrade. The data stay.
set -e

case "$1" in
remove | 0)
	[ ! -d /run/systemd/system ] || systemctl --no-reload disable --now flannel-etcd.service || :
	;;
esac
