package options

import (
	"math"
	"slices"
	"time"

	"flanneld/pkg/flagtable"
)

// table returns every flag of the daemon, in the order in which help lists them.
// docs/flags.md follows it.
func table(d *Daemon) flagtable.Table {
	flags := live(d)
	return flagtable.Table{Prefix: variables, Flags: append(checkQuotes(flags), legacy()...), Meant: map[string]string{
		"backend": `the network's configuration in etcd names it, for all hosts: {"Network":"10.100.0.0/16","Backend":{"Type":"vxlan"}}`,
	}}
}

// variables is what the names of all variables begin with.
const variables = "FLANNELD_"

func checkQuotes(flags []flagtable.Flag) []flagtable.Flag {
	for i := range flags {
		if flags[i].Name != "etcd-password" { // which may have quotes
			flags[i].Set = unquoted(flags[i].Set)
		}
	}
	return flags
}

// live returns the flags that set d.
func live(d *Daemon) []flagtable.Flag {
	return slices.Concat(d.Etcd.flags(), hostFlags(d), trafficFlags(d), lifeFlags(d))
}

// in puts flags into a group.
func in(group string, flags ...flagtable.Flag) []flagtable.Flag {
	for i := range flags {
		flags[i].Group = group
	}
	return flags
}

func hostFlags(d *Daemon) []flagtable.Flag {
	return append(in("Interface and addresses",
		flagtable.Flag{Name: "iface", Set: flagtable.List(&d.Iface), Arg: "NAME|IP",
			Help: "interface for traffic between hosts, by name or address; may be repeated, the first that exists is used; without any, the default route's interface"},
		flagtable.Flag{Name: "iface-regex", Set: regexps(&d.IfaceRegex), Arg: "REGEX",
			Help: "regular expression for the interface's address, else its name; may be repeated, tried after every --iface"},
		flagtable.Flag{Name: "iface-can-reach", Set: address(&d.IfaceCanReach, 0, "give an IP address"), Arg: "IP",
			Help: "use the interface from which the kernel reaches this address; tried last"},
		flagtable.Flag{Name: "public-ip", Set: address(&d.PublicIP, 32, "give an IPv4 address such as 192.0.2.10"), Arg: "IP",
			Help: "IPv4 address other hosts send to; without it, the interface's"},
		flagtable.Flag{Name: "public-ipv6", Set: address(&d.PublicIPv6, 128, "give an IPv6 address such as 2001:db8::10"), Arg: "IP",
			Help: "IPv6 address other hosts send to; without it, the interface's"}),
		in("This host",
			flagtable.Flag{Name: "ip-blackhole-route", Bool: true, Set: flagtable.Bool(&d.BlackholeRoute), Help: "keep a blackhole route for this host's own subnet"},
			flagtable.Flag{Name: "subnet-file", Set: flagtable.Path(&d.SubnetFile), Default: "/run/flannel/subnet.env", Arg: "FILE",
				Help: "where to write the environment file for Docker"},
			flagtable.Flag{Name: "state-dir", Set: flagtable.Path(&d.StateDir), Default: "/var/lib/flannel", Arg: "DIR",
				Help: "directory for files that must survive a reboot; without the flag, the first directory in STATE_DIRECTORY, which systemd sets"},
			flagtable.Flag{Name: "docker-bridge", Set: flagtable.Parsed(&d.DockerBridge, "give the name of an interface, such as docker0", bridge), Default: "docker0", Arg: "NAME",
				Help: "Docker's bridge; warn if it is outside this host's subnet or its containers have a larger MTU; empty: no check"})...)
}

func trafficFlags(d *Daemon) []flagtable.Flag {
	return append(in("Firewall",
		flagtable.Flag{Name: "ip-masq", Bool: true, Set: flagtable.Bool(&d.IPMasq), Help: "let packets of containers leave the overlay with this host's address"},
		flagtable.Flag{Name: "ip-masq-fully-random-disable", Bool: true, Set: flagtable.Bool(&d.MasqPlainPorts),
			Help: "pick ports for --ip-masq as the kernel does by default, not fully at random"},
		flagtable.Flag{Name: "iptables-forward-rules", Bool: true, Set: flagtable.Bool(&d.ForwardRules), Default: "true",
			Help: "accept packets from and to the overlay in the FORWARD chain"},
		flagtable.Flag{Name: "iptables-resync", Set: whole(&d.FirewallResync, time.Second, math.MaxInt32, "give 1 or more seconds"), Default: "5", Arg: "SECONDS",
			Help: "time between two checks of the firewall's rules, at least 1"},
		flagtable.Flag{Name: "docker-firewall", Set: either(&d.DockerFirewall, "auto", "off"), Default: "auto", Arg: "auto|off",
			Help: "let packets from the overlay reach containers past the rules of Docker 28 and later; off leaves Docker's rules as they are"}),
		in("Peers",
			flagtable.Flag{Name: "peer-filter", Set: peerFilter(&d.PeerFilter), Default: "on", Arg: "on|off",
				Help: "let in only packets from registered hosts; off lets in all"},
			flagtable.Flag{Name: "peer-allow", Set: prefixes(&d.PeerAllow), Arg: "CIDR",
				Help: "further addresses that peers may send from, for peers behind NAT or with several addresses; may be repeated (udp, vxlan)"},
			flagtable.Flag{Name: "udp-offload", Set: subset(&d.UDPOffload, "gso", "gro", "uso", "vnet", "multiqueue", "priority", "kernel"), Arg: "LIST",
				Help: "kernel offloads that the udp backend must not use, separated by commas: gso, gro, uso, vnet, multiqueue, priority, kernel; for kernels and devices that get them wrong"})...)
}

func lifeFlags(d *Daemon) []flagtable.Flag {
	return slices.Concat(in("Lease and timing",
		flagtable.Flag{Name: "subnet-lease-renew-margin", Set: renewMargin(&d.RenewMargin), Default: "60", Arg: "MINUTES",
			Help: "renew the lease at least this long before it expires, 1 to 1439; it is renewed hourly anyway"},
		flagtable.Flag{Name: "lease-lost", Set: flagtable.Choice(&d.LeaseLost, LeaseLostReacquire, LeaseLostExit), Default: LeaseLostReacquire, Arg: "ACTION",
			Help: "when the lease is gone: reacquire (the same subnet, or another if another host has it) or exit with status 0, as older releases do"},
		flagtable.Flag{Name: "fence", Bool: true, Set: flagtable.Bool(&d.Fence), Help: "forward nothing while another host may have this host's subnet"},
		flagtable.Flag{Name: "take-over", Bool: true, Set: flagtable.Bool(&d.TakeOver),
			Help: "take the lease with this host's PublicIP even if another node holds it, as older releases do; for a host that was reinstalled"},
		flagtable.Flag{Name: "resync", Set: flagtable.Parsed(&d.Resync, "give a duration of at least one second, such as 60s or 5m", duration), Default: "1m0s", Arg: "DURATION",
			Help: "time between two checks of kernel state, at least 1s"}),
		in("Health and logs",
			flagtable.Flag{Name: "healthz-ip", Set: flagtable.Text(&d.HealthzIP), Default: "0.0.0.0", Arg: "IP", Help: "address of the health server"},
			flagtable.Flag{Name: "healthz-port", Set: flagtable.Int(&d.HealthzPort, 0, 65535, "give a port, 1 to 65535, or 0 for no health server"), Default: "0", Arg: "PORT",
				Help: "port of the health server; 0 turns it off"},
			flagtable.Flag{Name: "status-socket", Set: flagtable.Path(&d.StatusSocket), Arg: "PATH|off",
				Help: "unix socket on which flannelctl asks how this host is; without the flag, named after the subnet file: flanneld.sock for subnet.env; off for none"},
			flagtable.Flag{Name: "log-format", Set: flagtable.Choice(&d.LogFormat, "glog", "json"), Default: "glog", Arg: "FORMAT", Help: "glog or json"},
			flagtable.Flag{Name: "v", Set: flagtable.Int(&d.Verbosity, math.MinInt, math.MaxInt, ""), Default: "0", Arg: "LEVEL", Help: "verbosity of the logs"}),
		in("Other",
			flagtable.Flag{Name: "version", Bool: true, Set: flagtable.Bool(&d.Version), Instead: true, Help: "print the version and exit; also -V"},
			flagtable.Flag{Name: "help", Bool: true, Set: flagtable.Bool(&d.Help), Instead: true, Help: "print this text and exit; also -h"}))
}

const (
	onlyKube   = "is for the Kubernetes store, which this daemon does not have"
	onlyMulti  = "belongs to multi-network mode, which this daemon does not have"
	onlyGlog   = "is ignored: all logs go to standard error"
	noRemote   = "is ignored: there is no --listen and no --remote"
	kubeLeases = "asks for leases in Kubernetes; this daemon keeps leases in etcd"

	severalDaemons = "run several daemons with different --etcd-prefix and --subnet-file"
	useEtcd        = "leave the flag out and name the etcd servers with --etcd-endpoints"
)

// legacy returns the flags of older releases without a meaning here. They are
// accepted because a unit file that worked must not stop working over them.
func legacy() []flagtable.Flag {
	return []flagtable.Flag{
		{Name: "subnet-dir", Default: "/run/flannel/networks", Legacy: onlyMulti},
		{Name: "networks", Legacy: onlyMulti, Refuse: severalDaemons},
		{Name: "watch-networks", Bool: true, Legacy: onlyMulti},
		{Name: "listen", Legacy: "asks for an HTTP server in front of etcd, which this daemon is not", Refuse: "let every host talk to etcd; for several networks, " + severalDaemons},
		{Name: "remote", Legacy: "asks for an HTTP server in front of etcd, which this daemon does not use", Refuse: "name the etcd servers with --etcd-endpoints; for several networks, " + severalDaemons},
		{Name: "remote-keyfile", Legacy: noRemote},
		{Name: "remote-certfile", Legacy: noRemote},
		{Name: "remote-cafile", Legacy: noRemote},

		{Name: "kube-subnet-mgr", Bool: true, Legacy: kubeLeases, Refuse: useEtcd},
		{Name: "use-multi-cluster-cidr", Bool: true, Legacy: kubeLeases, Refuse: useEtcd},
		{Name: "kube-api-url", Legacy: onlyKube},
		{Name: "kubeconfig-file", Legacy: onlyKube},
		{Name: "kube-annotation-prefix", Default: "flannel.alpha.coreos.com", Legacy: onlyKube},
		{Name: "net-config-path", Default: "/etc/kube-flannel/net-conf.json", Legacy: onlyKube},
		{Name: "set-node-network-unavailable", Bool: true, Default: "true", Legacy: onlyKube},

		{Name: "logtostderr", Bool: true, Default: "true", Legacy: onlyGlog},
		{Name: "alsologtostderr", Bool: true, Legacy: onlyGlog, Quiet: true},
		{Name: "log_dir", Legacy: onlyGlog},
		{Name: "stderrthreshold", Legacy: onlyGlog},
		{Name: "vmodule", Legacy: "is ignored: verbosity is the same for every file; use -v"},
		{Name: "log_backtrace_at", Legacy: "is ignored: this daemon prints no stack traces on request"},
	}
}
