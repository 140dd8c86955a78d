package main

// kind is what values a flag takes.
type kind int

const (
	text    kind = iota
	boolean      // needs "=" before its value
	number       // a whole number that is not negative
	given        // boolean that can but be true: what etcd has a flag for, and is always so here
)

// flagSpec is one row of the flag table. Parsing, help and the environment all
// follow it.
type flagSpec struct {
	name  string
	kind  kind
	def   string // default as one would write it; empty: the kind's zero value
	arg   string // what help calls the value
	group string // heading in help; empty: not in help
	help  string // of a given one: why it is always so
}

const (
	groupData    = "Data"
	groupClients = "Clients"
	groupMembers = "Members"
	groupTuning  = "Tuning"
	groupOther   = "Logs and other"

	defaultDataDir = "/var/lib/flannel-etcd"
	defaultClients = "http://127.0.0.1:2379"
	defaultPeers   = "http://127.0.0.1:2380"
	peerPort       = 2380
)

// flagTable returns every flag, in the order help lists them. What etcd has too
// is spelled as etcd spells it, so that a command line can be carried over.
func flagTable() []flagSpec {
	return []flagSpec{
		{name: "data-dir", def: defaultDataDir, arg: "DIR", group: groupData, help: "where the data are kept; without the flag, the first directory in STATE_DIRECTORY, which systemd sets"},

		{name: "listen-client-urls", def: defaultClients, arg: "URLS", group: groupClients, help: "where to listen to clients, separated by commas"},
		{name: "advertise-client-urls", arg: "URLS", group: groupClients, help: "where members tell clients to go; without it, where this one listens"},
		{name: "cert-file", arg: "FILE", group: groupClients, help: "certificate for https to clients, PEM; needs --key-file"},
		{name: "key-file", arg: "FILE", group: groupClients, help: "key of that certificate, PEM"},
		{name: "trusted-ca-file", arg: "FILE", group: groupClients, help: "certificate authorities, PEM; clients need a certificate of one of them"},

		{name: "cluster", arg: "IPS", group: groupMembers, help: "addresses of all members, separated by commas, the same list on each: one, three or five. A port other than 2380 comes after a colon. Names and the URLs of peers follow from it"},
		{name: "name", arg: "NAME", group: groupMembers, help: "this member's name; with --cluster, its address there, found out if only one of them is this host's; without, flannel-etcd"},
		{name: "listen-peer-urls", def: defaultPeers, arg: "URLS", group: groupMembers, help: "where to listen to other members"},
		{name: "initial-advertise-peer-urls", arg: "URLS", group: groupMembers, help: "where other members find this one; without it, where it listens to them"},
		{name: "initial-cluster", arg: "LIST", group: groupMembers, help: "all members as NAME=URL, separated by commas, in place of --cluster"},
		{name: "initial-cluster-state", def: "new", arg: "new|existing", group: groupMembers, help: "existing: the cluster runs, and has been told of this member. Without effect once there are data, like all about the cluster"},
		{name: "initial-cluster-token", def: "flannel-etcd", arg: "TEXT", group: groupMembers, help: "tells clusters apart that were made with the same URLs"},
		{name: "peer-cert-file", arg: "FILE", group: groupMembers, help: "certificate for https between members, for servers and clients, PEM; needs the other two"},
		{name: "peer-key-file", arg: "FILE", group: groupMembers, help: "key of that certificate, PEM"},
		{name: "peer-trusted-ca-file", arg: "FILE", group: groupMembers, help: "certificate authorities of the members' certificates, PEM"},

		{name: "heartbeat-interval", kind: number, arg: "MS", group: groupTuning, help: "milliseconds between heartbeats of the leader (default 20 for one member, 100 for several)"},
		{name: "election-timeout", kind: number, arg: "MS", group: groupTuning, help: "milliseconds without one after which a leader is elected, 5 heartbeats at least (default 10 heartbeats)"},
		{name: "snapshot-count", kind: number, def: "10000", arg: "COUNT", group: groupTuning, help: "writes between two snapshots; more take more disk, and longer to start"},
		{name: "quota-backend-bytes", kind: number, def: "268435456", arg: "BYTES", group: groupTuning, help: "how much v3 keys may take on disk; v2 keys do not count"},
		{name: "unsafe-no-fsync", kind: boolean, group: groupTuning, help: "for tests: do not wait for the disk. A power failure loses data"},

		{name: "log-level", def: "warn", arg: "LEVEL", group: groupOther, help: "which of etcd's own messages to log: debug, info, warn or error"},
		{name: "log-format", def: "glog", arg: "FORMAT", group: groupOther, help: "glog or json"},
		{name: "version", kind: boolean, group: groupOther, help: "print the version and exit"},
		{name: "help", kind: boolean, group: groupOther, help: "print this text and exit; also -h"},

		{name: "enable-v2", kind: given, help: "the v2 API is what this program is for"},
		{name: "client-cert-auth", kind: given, help: "with --trusted-ca-file clients always need a certificate"},
		{name: "peer-client-cert-auth", kind: given, help: "with --peer-trusted-ca-file members always need a certificate"},
	}
}
