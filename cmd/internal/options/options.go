// Package options decides what the daemon is asked to do: it turns arguments and
// environment into values, checked as far as that is possible without looking at
// the machine. It does not know what any of them is used for.
package options

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"flanneld/pkg/flagtable"
)

// Daemon is what the command line and the environment ask of flanneld.
type Daemon struct {
	Etcd Etcd

	Iface         []string   // interface names or addresses, tried in order; nil: the default route's
	IfaceRegex    []string   // tried after Iface; every element compiles
	IfaceCanReach netip.Addr // tried last; zero: not asked for
	PublicIP      netip.Addr // IPv4 address to publish; zero: the interface's
	PublicIPv6    netip.Addr // IPv6 address to publish; zero: the interface's

	IPMasq         bool          // hide containers behind this host's address outside the overlay
	MasqPlainPorts bool          // ports of IPMasq are not picked fully at random
	ForwardRules   bool          // accept the overlay's packets in the FORWARD chain
	FirewallResync time.Duration // time between two checks of the firewall's rules; at least one second
	DockerFirewall bool          // let the overlay's packets past Docker's own rules

	BlackholeRoute bool // keep a blackhole route for the own subnet

	SubnetFile string // path of the environment file for Docker
	StateDir   string // directory of what must survive a restart

	DockerBridge string // name of the bridge that is checked; empty: none

	PeerFilter bool           // let in only what registered hosts send
	PeerAllow  []netip.Prefix // addresses that peers may send from beside their PublicIP; masked
	UDPOffload []string       // kernel offloads that the udp backend must not use

	LeaseLost   string        // what to do when the lease is gone: LeaseLostReacquire or LeaseLostExit
	Fence       bool          // forward nothing while another host may have the subnet
	TakeOver    bool          // take the lease with our PublicIP over from another node
	RenewMargin time.Duration // time before expiry at which a lease is renewed; 1 to 1439 minutes
	Resync      time.Duration // time between two checks of kernel state; at least one second

	HealthzIP   string // address or host name; empty: all addresses; not checked if there is no port
	HealthzPort int    // TCP port, 0 to 65535; 0: no health server

	Tuning Tuning

	Verbosity int    // 0: normal; larger prints more
	LogFormat string // "glog" or "json"

	// One of these is done instead of all else, and the other fields are zero.
	Version     bool // print the version
	Help        bool // print the usage
	RemoveRules bool // remove the rules of all daemons from the packet filter
}

// Tuning is what tests alone change; no flag does.
type Tuning struct {
	LeaseTTL  time.Duration // zero: subnet.DefaultTTL
	MachineID string        // the file; empty: machine-id(5)
}

// The values of Daemon.LeaseLost.
const (
	LeaseLostReacquire = "reacquire"
	LeaseLostExit      = "exit"
)

// UsageError is a mistake in how the daemon was called. It has a hint.
type UsageError = flagtable.Error

// Parse reads the arguments (without the program's name) and the environment (as
// in os.Environ). Every error is a UsageError; the warnings are sentences to log
// once logging works.
func Parse(args, environ []string) (Daemon, []string, error) {
	var d Daemon
	env := flagtable.ReadEnv(environ)
	given, warnings, err := table(&d).Parse(args, env)
	if err != nil {
		return Daemon{}, nil, err
	}
	if d.Help || d.Version || d.RemoveRules {
		return d, nil, nil
	}
	if _, ok := given["state-dir"]; !ok {
		// systemd sets it to several directories if the unit names several; the first is ours.
		if dir, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":"); dir != "" {
			d.StateDir = dir
		}
	}
	if d.HealthzPort != 0 && !isHost(d.HealthzIP) {
		return Daemon{}, nil, flagtable.Invalid(d.HealthzIP, given.From("healthz-ip"), "give an IP address such as 0.0.0.0 or 127.0.0.1, or a host name")
	}
	more, err := d.Etcd.check(given, env)
	if err != nil {
		return Daemon{}, nil, err
	}
	return d, slices.Concat(warnings, more), nil
}

// Usage is the text of --help.
func Usage(argv0 string) string {
	return fmt.Sprintf("Usage: %s [OPTION]...\n", argv0) + flagtable.Help(table(new(Daemon)))
}

// String lists the options in the shape of the log line people grep for. The
// password is left out, since older daemons printed it there.
func (d Daemon) String() string {
	addr := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	var fields []string
	for _, f := range []struct {
		name  string
		value any
	}{
		{"etcdEndpoints", strings.Join(d.Etcd.Endpoints, ",")},
		{"etcdPrefix", d.Etcd.Prefix},
		{"etcdKeyfile", d.Etcd.KeyFile},
		{"etcdCertfile", d.Etcd.CertFile},
		{"etcdCAFile", d.Etcd.CAFile},
		{"etcdUsername", d.Etcd.Username},
		{"etcdPasswordFile", d.Etcd.PasswordFile},
		{"iface", d.Iface},
		{"ifaceRegex", d.IfaceRegex},
		{"ifaceCanReach", addr(d.IfaceCanReach)},
		{"publicIP", addr(d.PublicIP)},
		{"publicIPv6", addr(d.PublicIPv6)},
		{"ipMasq", d.IPMasq},
		{"ipMasqFullyRandomDisable", d.MasqPlainPorts},
		{"iptablesForwardRules", d.ForwardRules},
		{"iptablesResync", d.FirewallResync},
		{"dockerFirewall", d.DockerFirewall},
		{"blackholeRoute", d.BlackholeRoute},
		{"subnetFile", d.SubnetFile},
		{"stateDir", d.StateDir},
		{"dockerBridge", d.DockerBridge},
		{"peerFilter", d.PeerFilter},
		{"peerAllow", d.PeerAllow},
		{"udpOffload", d.UDPOffload},
		{"leaseLost", d.LeaseLost},
		{"fence", d.Fence},
		{"takeOver", d.TakeOver},
		{"subnetLeaseRenewMargin", d.RenewMargin},
		{"resync", d.Resync},
		{"healthzIP", d.HealthzIP},
		{"healthzPort", d.HealthzPort},
		{"verbosity", d.Verbosity},
		{"logFormat", d.LogFormat},
	} {
		fields = append(fields, fmt.Sprintf("%s:%v", f.name, f.value))
	}
	return "{" + strings.Join(fields, " ") + "}"
}
