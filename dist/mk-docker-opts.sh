#!/bin/sh
# Turns the daemon's subnet file into options for Docker's daemon, as a file for
# systemd's EnvironmentFile= or for a shell to source. POSIX sh: it must run
# under dash, ash and bash alike, also as "bash mk-docker-opts.sh".

usage() {
	cat >&2 <<-EOF
	usage: $0 [-f FILE] [-d FILE] [-j FILE] [-i] [-c] [-m] [-k NAME]

	Writes Docker daemon options made from flanneld's subnet file.

	  -f FILE  read this subnet file (/run/flannel/subnet.env)
	  -d FILE  write this file (/run/docker_opts.env); its directory must exist
	  -j FILE  warn of options that Docker's own file has, too (/etc/docker/daemon.json)
	  -i       write individual variables only: DOCKER_OPT_BIP, DOCKER_OPT_MTU, ...
	  -c       write the combined variable only
	  -k NAME  name of the combined variable (DOCKER_OPTS)
	  -m       leave out --ip-masq
	  -h       print this and exit

	Neither -i nor -c, or both: both kinds of variables.
	EOF
	exit 1
}

die() {
	echo "$0: $*" >&2
	exit 1
}

# What the subnet file sets must not change what this script does, hence the
# prefix.
mkopts_input=/run/flannel/subnet.env
mkopts_output=/run/docker_opts.env
mkopts_json=/etc/docker/daemon.json
mkopts_key=DOCKER_OPTS
mkopts_single=
mkopts_combined=
mkopts_masq=yes
mkopts_path=$PATH
mkopts_nl='
'
mkopts_cr=$(printf '\r')

while getopts f:d:j:ick:mh mkopts_flag; do
	case $mkopts_flag in
	f) mkopts_input=$OPTARG ;;
	d) mkopts_output=$OPTARG ;;
	j) mkopts_json=$OPTARG ;;
	i) mkopts_single=yes ;;
	c) mkopts_combined=yes ;;
	k) mkopts_key=$OPTARG ;;
	m) mkopts_masq= ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
if [ $# -gt 0 ]; then
	echo "$0: unexpected argument: $1" >&2
	usage
fi
if [ -z "$mkopts_single$mkopts_combined" ]; then
	mkopts_single=yes
	mkopts_combined=yes
fi

# The name is put into eval below.
case $mkopts_key in
'' | [!A-Za-z_]* | *[!A-Za-z0-9_]*) die "-k: bad variable name: $mkopts_key" ;;
esac

# "." looks up a name without a slash in PATH; and no tool may take a name for an
# option.
case $mkopts_input in */*) ;; *) mkopts_input=./$mkopts_input ;; esac
case $mkopts_output in */*) ;; *) mkopts_output=./$mkopts_output ;; esac

# assign NAME... reads plain assignments of these variables out of a file that
# is no shell script. The last one wins.
assign() {
	for mkopts_name in "$@"; do
		mkopts_value=$(LC_ALL=C sed -n "s/^[ 	]*\(export[ 	]\{1,\}\)\{0,1\}$mkopts_name=//p" "$mkopts_input" |
			LC_ALL=C sed -n '$ { s/[ 	\r]*$//; s/^"\(.*\)"$/\1/; s/^'\''\(.*\)'\''$/\1/; p; }')
		[ -z "$mkopts_value" ] || eval "$mkopts_name=\$mkopts_value"
	done
}

# quote prints a value so that within double quotes a shell and systemd both read
# it as it is.
quote() {
	printf '%s\n' "$1" | sed 's/[\\"$`]/\\&/g'
}

# generate prints the output file.
generate() {
	# Files edited on Windows end lines with CR LF.
	FLANNEL_SUBNET=${FLANNEL_SUBNET%"$mkopts_cr"}
	FLANNEL_MTU=${FLANNEL_MTU%"$mkopts_cr"}
	FLANNEL_IPMASQ=${FLANNEL_IPMASQ%"$mkopts_cr"}

	[ -z "$FLANNEL_SUBNET" ] || DOCKER_OPT_BIP=--bip=$FLANNEL_SUBNET
	[ -z "$FLANNEL_MTU" ] || DOCKER_OPT_MTU=--mtu=$FLANNEL_MTU
	if [ -n "$mkopts_masq" ]; then
		# One of the two masquerades, not both.
		case $FLANNEL_IPMASQ in
		'') ;;
		true) DOCKER_OPT_IPMASQ=--ip-masq=false ;;
		false) DOCKER_OPT_IPMASQ=--ip-masq=true ;;
		*)
			echo "Invalid value of FLANNEL_IPMASQ: $FLANNEL_IPMASQ" >&2
			return 1
			;;
		esac
	fi

	# Only names are taken from what "set" prints: how it prints values differs
	# from shell to shell, and a value of several lines can look like a variable,
	# which is why each is tested.
	eval "mkopts_all=\${$mkopts_key}"
	mkopts_all=$mkopts_all${mkopts_all:+ }
	for mkopts_name in $(set | LC_ALL=C sed -n 's/^\(DOCKER_OPT_[A-Za-z0-9_]*\)=.*/\1/p' | LC_ALL=C sort -u); do
		eval "[ -n \"\${$mkopts_name+set}\" ]" || continue
		[ "$mkopts_name" != "$mkopts_key" ] || continue
		eval "mkopts_value=\$$mkopts_name"
		mkopts_all="$mkopts_all $mkopts_value"
		[ -z "$mkopts_single" ] || printf '%s="%s"\n' "$mkopts_name" "$(quote "$mkopts_value")"
	done
	[ -z "$mkopts_combined" ] || printf '%s="%s"\n' "$mkopts_key" "$(quote "$mkopts_all")"
}

# warn_of_file says which options Docker's own file has, too: Docker does not start then.
warn_of_file() {
	for mkopts_name in ${DOCKER_OPT_BIP:+bip bridge} ${DOCKER_OPT_MTU:+mtu} ${DOCKER_OPT_IPMASQ:+ip-masq}; do
		LC_ALL=C grep -qs "\"$mkopts_name\"[[:space:]]*:[[:space:]]*[^{[:space:]]" "$mkopts_json" || continue
		echo "$0: warning: $mkopts_json sets $mkopts_name, and Docker does not start with that beside --bip, --mtu and --ip-masq; remove it there" >&2
	done
}

# warn_of_route says so if another router claims this host's subnet: containers
# then cannot be reached. The file is right all the same, so Docker may start.
warn_of_route() {
	mkopts_value=${FLANNEL_SUBNET%"$mkopts_cr"}
	case $mkopts_value in
	*[!0-9./]* | *.*.*.*.* | */*/*) return 0 ;;
	[0-9]*.[0-9]*.[0-9]*.[0-9]*/[0-9]*) ;;
	*) return 0 ;;
	esac
	command -v ip >/dev/null 2>&1 || return 0
	IFS=./
	# shellcheck disable=SC2086 # to be split
	set -- $mkopts_value
	IFS=" 	$mkopts_nl"
	for mkopts_value in "$@"; do
		# A leading zero would make it octal.
		case $mkopts_value in 0 | [1-9] | [1-9][0-9] | [1-9][0-9][0-9]) ;; *) return 0 ;; esac
	done
	[ "$5" -le 32 ] || return 0
	mkopts_value=$(((($1 << 24) + ($2 << 16) + ($3 << 8) + $4) & (4294967295 << (32 - $5))))
	mkopts_value=$((mkopts_value >> 24 & 255)).$((mkopts_value >> 16 & 255)).$((mkopts_value >> 8 & 255)).$((mkopts_value & 255))/$5
	mkopts_all=$(ip -4 route show 2>/dev/null)
	case $mkopts_nl$mkopts_all in
	*"$mkopts_nl$mkopts_value via "*)
		echo "$0: warning: there is a route to this host's own subnet $mkopts_value by way of another host" >&2
		;;
	esac
}

# restore undoes what a sourced file may have done to the tools used here.
restore() {
	PATH=$mkopts_path
	IFS=" 	$mkopts_nl"
	set +efux
}

finish() {
	# A command's output loses its last line breaks; the word behind them also
	# tells that nothing ended the shell before.
	generate && warn_of_file && warn_of_route && echo done || echo invalid
}

# In a shell of its own: a syntax error in a sourced file, or "exit", ends the
# shell. What commands in the file print is not ours.
mkopts_content=$(
	if [ -r "$mkopts_input" ] && [ ! -d "$mkopts_input" ]; then
		# shellcheck disable=SC1090 # chosen by the caller
		. "$mkopts_input" >&2
		mkopts_flag=$?
		restore
		# bash goes on after a syntax error, with nothing read.
		[ $mkopts_flag = 0 ] || sh -n "$mkopts_input" 2>/dev/null || exit 1
	fi
	finish
)
case $mkopts_content in
*done | *invalid) ;;
*)
	echo "$0: $mkopts_input is not a shell script; reading plain assignments only" >&2
	mkopts_content=$(
		assign FLANNEL_SUBNET FLANNEL_MTU FLANNEL_IPMASQ
		finish
	)
	;;
esac
case $mkopts_content in
*done) mkopts_content=${mkopts_content%done} ;;
*) exit 1 ;; # the reason was printed
esac

# The file is renamed into place, so that nobody reads half of it. A link to a
# file stays a link; /dev/stdout is one, too, but leads to no name.
if [ -d "$mkopts_output" ]; then
	die "cannot write $mkopts_output: it is a directory"
fi
if [ ! -e "$mkopts_output" ] || [ -f "$mkopts_output" ]; then
	if [ -L "$mkopts_output" ]; then
		mkopts_target=$(readlink -f "$mkopts_output") && mkopts_output=$mkopts_target
	fi
	mkopts_dir=${mkopts_output%/*}/
	[ -d "$mkopts_dir" ] || die "cannot write $mkopts_output: there is no directory $mkopts_dir"
	if mkopts_temp=$(mktemp "$mkopts_dir.${mkopts_output##*/}.XXXXXX" 2>/dev/null); then
		trap 'rm -f "$mkopts_temp"' EXIT
		trap 'exit 1' HUP INT TERM
		if [ -e "$mkopts_output" ]; then
			# For its mode and owner.
			cp -p "$mkopts_output" "$mkopts_temp"
		else
			# What a redirection would give it; mktemp gives 0600.
			chmod =rw "$mkopts_temp"
		fi
		printf %s "$mkopts_content" >"$mkopts_temp" || die "cannot write $mkopts_temp"
		mv -f "$mkopts_temp" "$mkopts_output" 2>/dev/null && exit 0
	fi
fi
# A device, a file mounted on its own, or one in a directory of somebody else's.
printf %s "$mkopts_content" >"$mkopts_output" || die "cannot write $mkopts_output"
