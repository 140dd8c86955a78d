package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"
)

// options is what the command line and the environment ask for, checked as
// far as that is possible without looking at the machine.
type options struct {
	EtcdEndpoints []string // client URLs, http or https; at least one
	EtcdPrefix    string   // key below which everything lies; starts with "/", ends without
	EtcdKeyFile   string   // client key, PEM; set if and only if EtcdCertFile is
	EtcdCertFile  string   // client certificate, PEM
	EtcdCAFile    string   // root certificates, PEM; empty: the system's
	EtcdUsername  string   // empty: no authentication
	EtcdPassword  secret
	// EtcdPasswordFile holds the password instead; empty: it is in EtcdPassword.
	EtcdPasswordFile string
	// EtcdCredential is where systemd puts the password if it has one for us: used
	// if there is a user, neither of the two above, and this file.
	EtcdCredential string

	Iface         []string   // interface names or addresses, tried in order; nil: the default route's
	IfaceRegex    []string   // tried after Iface; every element compiles
	IfaceCanReach netip.Addr // tried last; zero: not asked for
	PublicIP      netip.Addr // IPv4 address to publish; zero: the interface's
	PublicIPv6    netip.Addr // IPv6 address to publish; zero: the interface's

	IPMasq         bool          // hide containers behind this host's address outside the overlay
	MasqPlainPorts bool          // ports of IPMasq are not picked fully at random
	ForwardRules   bool          // accept the overlay's packets in the FORWARD chain
	FirewallResync time.Duration // how often the firewall's rules are checked unasked; at least one second
	DockerFirewall bool          // let the overlay's packets past Docker's own rules

	BlackholeRoute bool // keep a blackhole route for the own subnet

	SubnetFile string // path of the environment file for Docker
	StateDir   string // directory of what must survive a restart

	DockerBridge string // name of the bridge that is looked at; empty: none

	PeerFilter bool           // let in only what registered hosts send
	PeerAllow  []netip.Prefix // whence peers may send beside their PublicIP; masked
	UDPOffload []string       // what the udp backend does without; each one of udpOffloads

	LeaseLost   string        // what to do when the lease is gone: leaseLostReacquire or leaseLostExit
	Fence       bool          // forward nothing while another host may have the subnet
	TakeOver    bool          // take the lease with our PublicIP over from another node
	RenewMargin time.Duration // time before expiry at which a lease is renewed; 1 to 1439 minutes
	Resync      time.Duration // how often kernel state is checked unasked; at least one second

	HealthzIP   string // address or host name; empty: all addresses; not checked if there is no port
	HealthzPort int    // TCP port, 0 to 65535; 0: no health server

	Tuning tuning // what tests alone change

	Verbosity int    // 0: normal; larger prints more
	LogFormat string // "glog" or "json"

	// One of these is done instead of all else, and the other fields are not checked.
	Version     bool // print the version
	Help        bool // print the usage
	RemoveRules bool // take all rules of daemons out of the packet filter
}

// secret is a string that no formatter, logger or encoder prints. Convert it
// to string to use it.
type secret string

const redacted = "***"

func (secret) String() string               { return redacted }
func (secret) GoString() string             { return redacted }
func (secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format covers the verbs that would bypass String, such as %d.
func (secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// usageError is a mistake in how the daemon was called. main prints both
// parts and exits with status 2.
type usageError struct {
	Msg  string // what is wrong
	Hint string // what to do about it; may be empty
}

func (e usageError) Error() string { return e.Msg }

// String lists the options in the shape of the log line people grep for. The
// password is left out, since older daemons printed it there.
func (o options) String() string {
	var b strings.Builder
	add := func(name string, v any) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s:%v", name, v)
	}
	addr := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	add("etcdEndpoints", strings.Join(o.EtcdEndpoints, ","))
	add("etcdPrefix", o.EtcdPrefix)
	add("etcdKeyfile", o.EtcdKeyFile)
	add("etcdCertfile", o.EtcdCertFile)
	add("etcdCAFile", o.EtcdCAFile)
	add("etcdUsername", o.EtcdUsername)
	add("etcdPasswordFile", o.EtcdPasswordFile)
	add("iface", o.Iface)
	add("ifaceRegex", o.IfaceRegex)
	add("ifaceCanReach", addr(o.IfaceCanReach))
	add("publicIP", addr(o.PublicIP))
	add("publicIPv6", addr(o.PublicIPv6))
	add("ipMasq", o.IPMasq)
	add("ipMasqFullyRandomDisable", o.MasqPlainPorts)
	add("iptablesForwardRules", o.ForwardRules)
	add("iptablesResync", o.FirewallResync)
	add("dockerFirewall", o.DockerFirewall)
	add("blackholeRoute", o.BlackholeRoute)
	add("subnetFile", o.SubnetFile)
	add("stateDir", o.StateDir)
	add("dockerBridge", o.DockerBridge)
	add("peerFilter", o.PeerFilter)
	add("peerAllow", o.PeerAllow)
	add("udpOffload", o.UDPOffload)
	add("leaseLost", o.LeaseLost)
	add("fence", o.Fence)
	add("takeOver", o.TakeOver)
	add("subnetLeaseRenewMargin", o.RenewMargin)
	add("resync", o.Resync)
	add("healthzIP", o.HealthzIP)
	add("healthzPort", o.HealthzPort)
	add("verbosity", o.Verbosity)
	add("logFormat", o.LogFormat)
	return "{" + b.String() + "}"
}

// flagsLine is the message logged once at start-up.
func (o options) flagsLine() string { return "CLI flags config: " + o.String() }
