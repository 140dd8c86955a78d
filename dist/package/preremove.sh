#!/bin/sh
# Before a removal (deb: remove, rpm: 0), and not before an upgrade.
set -e

case "$1" in
remove | 0)
	[ -d /run/systemd/system ] || exit 0
	systemctl --no-reload disable --now flanneld.service flanneld-docker.path || :
	;;
esac
