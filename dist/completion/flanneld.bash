# Completion of flanneld's flags for bash.
_flanneld() {
	local word=$2 flag=
	COMPREPLY=()
	# "=" is a word of its own for most.
	if [[ $word == = ]]; then
		flag=$3 word=
	elif [[ $3 == = && $COMP_CWORD -ge 2 ]]; then
		flag=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	case $flag in
	'') ;;
	--etcd-keyfile | --etcd-certfile | --etcd-cafile | --etcd-password-file | --subnet-file)
		COMPREPLY=($(compgen -f -- "$word"))
		return
		;;
	--state-dir)
		COMPREPLY=($(compgen -d -- "$word"))
		return
		;;
	--iface)
		COMPREPLY=($(compgen -W "$(cd /sys/class/net && echo *)" -- "$word"))
		return
		;;
	--etcd-api)
		COMPREPLY=($(compgen -W 'auto v2 v3' -- "$word"))
		return
		;;
	--docker-firewall)
		COMPREPLY=($(compgen -W 'auto off' -- "$word"))
		return
		;;
	--peer-filter)
		COMPREPLY=($(compgen -W 'on off' -- "$word"))
		return
		;;
	--udp-offload)
		COMPREPLY=($(compgen -W 'gso gro uso vnet multiqueue priority kernel' -- "$word"))
		return
		;;
	--lease-lost)
		COMPREPLY=($(compgen -W 'reacquire exit' -- "$word"))
		return
		;;
	--log-format)
		COMPREPLY=($(compgen -W 'glog json' -- "$word"))
		return
		;;
	*) return ;;
	esac
	COMPREPLY=($(compgen -W '--etcd-endpoints= --etcd-srv= --etcd-api= --etcd-prefix= --etcd-keyfile= --etcd-certfile= --etcd-cafile= --etcd-username= --etcd-password= --etcd-password-file= --etcd-proxy= --iface= --iface-regex= --iface-can-reach= --public-ip= --public-ipv6= --ip-blackhole-route --subnet-file= --state-dir= --docker-bridge= --ip-masq --ip-masq-fully-random-disable --iptables-forward-rules --iptables-resync= --docker-firewall= --peer-filter= --peer-allow= --udp-offload= --subnet-lease-renew-margin= --lease-lost= --fence --take-over --resync= --healthz-ip= --healthz-port= --status-socket= --log-format= --v= --version --help' -- "$word"))
	[[ ${COMPREPLY-} != *= ]] || compopt -o nospace
}
complete -F _flanneld flanneld
