#!/bin/sh
# Restarts Docker if it runs with other options than the subnet file asks for now.
# The file is written at each start of flanneld: that alone is no reason.
set -eu

here=${0%/*}
running=${1:-/run/flannel/docker} # written when Docker started

if ! systemctl --quiet is-active docker.service || [ ! -e "$running" ]; then
	exit 0 # it will read the subnet file when it starts
fi
wanted=$("$here/mk-docker-opts.sh" -c -k DOCKER_NETWORK_OPTIONS -d /dev/stdout)
if [ "$wanted" = "$(cat "$running")" ]; then
	echo "Docker runs with this host's subnet"
	exit 0
fi
echo "Docker runs with $(cat "$running"), and $wanted is right now: restarting it"
# Not if somebody has stopped it meanwhile; and this unit need not wait.
exec systemctl --no-block try-restart docker.service
