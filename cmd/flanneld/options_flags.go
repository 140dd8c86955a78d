package main

// kind is what values a flag takes.
type kind int

const (
	text     kind = iota
	boolean       // needs "=" before its value, as with Go's flag package
	number        // any Go integer literal: 60, 0x3c, 074
	duration      // "90s", "2m"
	list          // text, may be repeated
)

// flagSpec is one row of the flag table. Parsing, help, the environment and
// docs/flags.md all follow it.
type flagSpec struct {
	name  string
	kind  kind
	def   string // default as one would write it; empty: the kind's zero value
	arg   string // what help calls the value; empty for booleans
	group string // heading in help; unused for legacy flags
	help  string

	// instead: the flag asks for something else than the daemon, and therefore has
	// no variable.
	instead bool

	// legacy says why a flag kept from older releases does nothing here; it
	// completes the sentence "--name …". Empty: the flag works.
	legacy string
	// quiet never warns: every value describes what happens anyway.
	quiet bool
	// refuse ends the start if the flag is set and not at its default: going
	// on would use another store or other keys than the operator means.
	refuse string
}

const (
	groupStore    = "Store"
	groupIface    = "Interface and addresses"
	groupHost     = "This host"
	groupFirewall = "Firewall"
	groupPeers    = "Peers"
	groupLease    = "Lease and timing"
	groupHealth   = "Health and logs"
	groupOther    = "Other"

	onlyKube  = "is for the Kubernetes store, which this daemon does not have"
	onlyMulti = "belongs to multi-network mode, which this daemon does not have"
	onlyGlog  = "is ignored: all logs go to standard error"

	leaseLostReacquire = "reacquire"
	leaseLostExit      = "exit"

	severalDaemons = "run several daemons with different --etcd-prefix and --subnet-file"
	useEtcd        = "leave the flag out and name the etcd servers with --etcd-endpoints"
)

// flagTable returns every flag, in the order help lists them.
func flagTable() []flagSpec {
	return append(liveFlags(), legacyFlags()...)
}

func liveFlags() []flagSpec {
	return []flagSpec{
		{name: "etcd-endpoints", def: "http://127.0.0.1:4001,http://127.0.0.1:2379", arg: "URLS", group: groupStore, help: "etcd client URLs, separated by commas"},
		{name: "etcd-prefix", def: defaultPrefix, arg: "KEY", group: groupStore, help: "key below which configuration and leases lie"},
		{name: "etcd-keyfile", arg: "FILE", group: groupStore, help: "client key for etcd, PEM; needs --etcd-certfile"},
		{name: "etcd-certfile", arg: "FILE", group: groupStore, help: "client certificate for etcd, PEM; needs --etcd-keyfile"},
		{name: "etcd-cafile", arg: "FILE", group: groupStore, help: "certificate authorities that sign etcd's certificates, PEM"},
		{name: "etcd-username", arg: "NAME", group: groupStore, help: "user name for etcd"},
		{name: "etcd-password", arg: "PASSWORD", group: groupStore, help: "password for etcd; better given in the environment or a file, since every user can list arguments"},
		{name: "etcd-password-file", arg: "FILE", group: groupStore, help: "file with the password for etcd, read again when it changes; without it, systemd's credential etcd-password"},

		{name: "iface", kind: list, arg: "NAME|IP", group: groupIface, help: "interface for traffic between hosts, by name or address; may be repeated, the first that exists is used; without any, the default route's interface"},
		{name: "iface-regex", kind: list, arg: "REGEX", group: groupIface, help: "regular expression for the interface's address, else its name; may be repeated, tried after every --iface"},
		{name: "iface-can-reach", arg: "IP", group: groupIface, help: "use the interface from which the kernel reaches this address; tried last"},
		{name: "public-ip", arg: "IP", group: groupIface, help: "IPv4 address other hosts send to; without it, the interface's"},
		{name: "public-ipv6", arg: "IP", group: groupIface, help: "IPv6 address other hosts send to; without it, the interface's"},

		{name: "ip-blackhole-route", kind: boolean, group: groupHost, help: "keep a blackhole route for this host's own subnet"},
		{name: "subnet-file", def: "/run/flannel/subnet.env", arg: "FILE", group: groupHost, help: "where to write the environment file for Docker"},
		{name: "state-dir", def: defaultStateDir, arg: "DIR", group: groupHost, help: "directory for what must survive a restart; without the flag, the first directory in STATE_DIRECTORY, which systemd sets"},
		{name: "docker-bridge", def: "docker0", arg: "NAME", group: groupHost, help: "bridge of Docker, about which the log says if it is not in this host's subnet or its containers have a larger MTU; empty: none is looked at"},

		{name: "ip-masq", kind: boolean, group: groupFirewall, help: "let packets of containers leave the overlay with this host's address"},
		{name: "ip-masq-fully-random-disable", kind: boolean, group: groupFirewall, help: "pick ports for --ip-masq as the kernel does by default, and not fully at random"},
		{name: "iptables-forward-rules", kind: boolean, def: "true", group: groupFirewall, help: "accept packets from and to the overlay in the FORWARD chain"},
		{name: "iptables-resync", kind: number, def: "5", arg: "SECONDS", group: groupFirewall, help: "how often to check the firewall's rules unasked, at least 1"},
		{name: "docker-firewall", def: "auto", arg: "auto|off", group: groupFirewall, help: "let packets from the overlay reach containers past the rules of Docker 28 and later; off leaves Docker's rules as they are"},

		{name: "peer-filter", def: "on", arg: "on|off", group: groupPeers, help: "let in only what comes from a registered host; off lets in anything"},
		{name: "peer-allow", kind: list, arg: "CIDR", group: groupPeers, help: "addresses from which peers send that are behind NAT or have several; may be repeated (udp, vxlan)"},
		{name: "udp-offload", def: "", arg: "LIST", group: groupPeers, help: "what of the kernel's help the udp backend does without, separated by commas: gso, gro, uso, vnet, multiqueue, priority; for kernels and devices that do it wrong"},

		{name: "subnet-lease-renew-margin", kind: number, def: "60", arg: "MINUTES", group: groupLease, help: "how long before expiry to renew the lease at the latest, 1 to 1439; it is renewed hourly"},
		{name: "lease-lost", def: leaseLostReacquire, arg: "ACTION", group: groupLease, help: "when the lease is gone: reacquire (the same subnet, or another if another host has it) or exit with status 0, as older releases do"},
		{name: "fence", kind: boolean, group: groupLease, help: "forward nothing while another host may have this host's subnet"},
		{name: "take-over", kind: boolean, group: groupLease, help: "take the lease that has this host's PublicIP, though another node holds it, as older releases do; for a host that was reinstalled"},
		{name: "resync", kind: duration, def: "1m0s", arg: "DURATION", group: groupLease, help: "how often to check kernel state unasked, at least 1s"},

		{name: "healthz-ip", def: "0.0.0.0", arg: "IP", group: groupHealth, help: "address of the health server"},
		{name: "healthz-port", kind: number, def: "0", arg: "PORT", group: groupHealth, help: "port of the health server; 0 turns it off"},
		{name: "log-format", def: "glog", arg: "FORMAT", group: groupHealth, help: "glog or json"},
		{name: "v", kind: number, def: "0", arg: "LEVEL", group: groupHealth, help: "verbosity of the logs"},

		{name: "remove-rules", kind: boolean, group: groupOther, instead: true, help: "take out of the packet filter what flanneld has put there, whatever its --etcd-prefix was, print it, and exit; needs no etcd. Stop the daemon first"},
		{name: "version", kind: boolean, group: groupOther, instead: true, help: "print the version and exit"},
		{name: "help", kind: boolean, group: groupOther, instead: true, help: "print this text and exit; also -h"},
	}
}

// legacyFlags are those of older releases without a meaning here. They are
// accepted because a unit file that worked must not stop working over them.
func legacyFlags() []flagSpec {
	return []flagSpec{
		{name: "subnet-dir", def: "/run/flannel/networks", legacy: onlyMulti},
		{name: "networks", legacy: onlyMulti, refuse: severalDaemons},
		{name: "watch-networks", kind: boolean, legacy: onlyMulti},
		{name: "listen", legacy: "asks for an HTTP server in front of etcd, which this daemon is not", refuse: "let every host talk to etcd; for several networks, " + severalDaemons},
		{name: "remote", legacy: "asks for an HTTP server in front of etcd, which this daemon does not use", refuse: "name the etcd servers with --etcd-endpoints; for several networks, " + severalDaemons},
		{name: "remote-keyfile", legacy: "is ignored: there is no --listen and no --remote"},
		{name: "remote-certfile", legacy: "is ignored: there is no --listen and no --remote"},
		{name: "remote-cafile", legacy: "is ignored: there is no --listen and no --remote"},

		{name: "kube-subnet-mgr", kind: boolean, legacy: "asks for leases in Kubernetes; this daemon keeps leases in etcd", refuse: useEtcd},
		{name: "use-multi-cluster-cidr", kind: boolean, legacy: "asks for leases in Kubernetes; this daemon keeps leases in etcd", refuse: useEtcd},
		{name: "kube-api-url", legacy: onlyKube},
		{name: "kubeconfig-file", legacy: onlyKube},
		{name: "kube-annotation-prefix", def: "flannel.alpha.coreos.com", legacy: onlyKube},
		{name: "net-config-path", def: "/etc/kube-flannel/net-conf.json", legacy: onlyKube},
		{name: "set-node-network-unavailable", kind: boolean, def: "true", legacy: onlyKube},

		{name: "logtostderr", kind: boolean, def: "true", legacy: onlyGlog},
		{name: "alsologtostderr", kind: boolean, legacy: onlyGlog, quiet: true},
		{name: "log_dir", legacy: onlyGlog},
		{name: "stderrthreshold", legacy: onlyGlog},
		{name: "vmodule", legacy: "is ignored: verbosity is the same for every file; use -v"},
		{name: "log_backtrace_at", legacy: "is ignored: this daemon prints no stack traces on request"},
	}
}
