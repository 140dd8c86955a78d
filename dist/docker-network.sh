#!/bin/sh
# Prints the command that makes a network of this host's subnet for Docker, in place
# of its default bridge:
#
#     docker-network.sh [-f SUBNET_FILE] [-b BRIDGE] [NAME]
#
# Nothing is computed by hand: Docker wants the address of the subnet, where the
# subnet file has the bridge's.
set -eu

file=/run/flannel/subnet.env
if [ "${1-}" = -f ]; then
	file=${2:?a file is missing after -f}
	shift 2
fi
bridge=br-flannel
if [ "${1-}" = -b ]; then
	bridge=${2:?a name is missing after -b}
	shift 2
fi
# The kernel's names have 15 characters at most.
case $bridge in
-* | ????????????????* | *[!A-Za-z0-9_.-]*) echo "$0: bad name of a bridge: $bridge" >&2 && exit 1 ;;
esac
name=${1:-flannel}
case $name in
'' | -* | *[!A-Za-z0-9_.-]*) echo "$0: bad name of a network: $name" >&2 && exit 1 ;;
esac

# get prints the last value of a variable of the file.
get() { sed -n "s/^$1=//p" "$file" | tail -n 1; }
subnet=$(get FLANNEL_SUBNET)
mtu=$(get FLANNEL_MTU)
masq=$(get FLANNEL_IPMASQ)

fail() {
	echo "$0: $file has no usable $1" >&2
	exit 1
}

# number succeeds for a decimal number up to the second one; a leading zero would
# make it octal below.
number() {
	case $1 in
	0 | [1-9] | [1-9][0-9] | [1-9][0-9][0-9] | [1-9][0-9][0-9][0-9] | [1-9][0-9][0-9][0-9][0-9]) [ "$1" -le "$2" ] ;;
	*) false ;;
	esac
}

case $subnet in *[!0-9./]* | */*/*) fail FLANNEL_SUBNET ;; */*) ;; *) fail FLANNEL_SUBNET ;; esac
IFS=./
# shellcheck disable=SC2086 # to be split
set -- $subnet
[ $# = 5 ] || fail FLANNEL_SUBNET
for part in "$1" "$2" "$3" "$4"; do
	number "$part" 255 || fail FLANNEL_SUBNET
done
number "$5" 30 || fail FLANNEL_SUBNET
number "$mtu" 65535 || fail FLANNEL_MTU
# One of the two masquerades, not both.
case $masq in
true) masq=false ;;
false) masq=true ;;
*) fail FLANNEL_IPMASQ ;;
esac
net=$(((($1 << 24) + ($2 << 16) + ($3 << 8) + $4) & (4294967295 << (32 - $5))))
net=$((net >> 24 & 255)).$((net >> 16 & 255)).$((net >> 8 & 255)).$((net & 255))/$5

echo "docker network create --driver bridge --subnet $net --gateway ${subnet%/*}" \
	"--opt com.docker.network.driver.mtu=$mtu" \
	"--opt com.docker.network.bridge.enable_ip_masquerade=$masq" \
	"--opt com.docker.network.bridge.name=$bridge $name"
