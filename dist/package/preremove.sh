#!/bin/sh
# Before a removal (deb: remove, rpm: 0), and not before an upgrade, a failed one
# included. A package that is deconfigured (deb) goes on running until it is removed,
# which calls this again, or configured.
set -e

case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl --no-reload disable --now flanneld.service flanneld-docker.path || :
		# Of a template, the names of those that are enabled are not known to --now.
		systemctl --no-reload disable flanneld@.service || :
		systemctl stop 'flanneld@*.service' || :
	fi
	# Nobody keeps the rules in step any more: the filter would keep out every host that
	# joins from now on. The rest stays for who comes next. In another root
	# (chroot) the network is that of a host which still has the package.
	if [ /proc/1/root -ef / ]; then
		flannelctl cleanup --rules ||
			echo "Rules of flanneld are left. Until it is removed, this one keeps out hosts that join: nft delete table inet flanneld" >&2
	fi
	;;
esac
