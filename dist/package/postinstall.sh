#!/bin/sh
# After an installation ("configure" without a version, or 1) and after an upgrade.
set -e

[ -d /run/systemd/system ] || exit 0
systemd-sysusers flannel.conf || :
systemd-tmpfiles --create flannel.conf || :
# Only our own keys: an administrator's other settings may be newer than their files.
if [ -x /lib/systemd/systemd-sysctl ] || [ -x /usr/lib/systemd/systemd-sysctl ]; then
	for sysctl in /usr/lib/systemd/systemd-sysctl /lib/systemd/systemd-sysctl; do
		[ ! -x $sysctl ] || { $sysctl 60-flannel.conf || :; break; }
	done
fi
systemctl daemon-reload || :
case "$1${2:+ }$2" in
configure | 1)
	# The subnet and the packets of this host depend on what is written in
	# /etc/default/flanneld first: it is enabled and started by a person.
	;;
*)
	# An upgrade: a restart loses no packet.
	systemctl try-restart flanneld.service 'flanneld@*.service' || :
	;;
esac
