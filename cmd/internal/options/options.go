// Package options decides what the daemon is asked to do: it turns arguments and
// environment into values, checked as far as that is possible without looking at
// the machine. It does not know what any of them is used for.
package options

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"flanneld/pkg/flagtable"
)

// Daemon is what the command line and the environment ask of flanneld.
type Daemon struct {
	Etcd Etcd

	Iface         []string   `log:"iface"`         // interface names or addresses, tried in order; nil: the default route's
	IfaceRegex    []string   `log:"ifaceRegex"`    // tried after Iface; every element compiles
	IfaceCanReach netip.Addr `log:"ifaceCanReach"` // tried last; zero: not asked for
	PublicIP      netip.Addr `log:"publicIP"`      // IPv4 address to publish; zero: the interface's
	PublicIPv6    netip.Addr `log:"publicIPv6"`    // IPv6 address to publish; zero: the interface's

	IPMasq         bool          `log:"ipMasq"`                   // hide containers behind this host's address outside the overlay
	MasqPlainPorts bool          `log:"ipMasqFullyRandomDisable"` // ports of IPMasq are not picked fully at random
	ForwardRules   bool          `log:"iptablesForwardRules"`     // accept the overlay's packets in the FORWARD chain
	FirewallResync time.Duration `log:"iptablesResync"`           // time between two checks of the firewall's rules; at least one second
	DockerFirewall bool          `log:"dockerFirewall"`           // let the overlay's packets past Docker's own rules

	BlackholeRoute bool `log:"blackholeRoute"` // keep a blackhole route for the own subnet

	SubnetFile string `log:"subnetFile"` // path of the environment file for Docker
	StateDir   string `log:"stateDir"`   // directory of what must survive a restart

	DockerBridge string `log:"dockerBridge"` // name of the bridge that is checked; empty: none

	PeerFilter bool           `log:"peerFilter"` // let in only what registered hosts send
	PeerAllow  []netip.Prefix `log:"peerAllow"`  // addresses that peers may send from beside their PublicIP; masked
	UDPOffload []string       `log:"udpOffload"` // kernel offloads that the udp backend must not use

	LeaseLost   string        `log:"leaseLost"`              // what to do when the lease is gone: LeaseLostReacquire or LeaseLostExit
	Fence       bool          `log:"fence"`                  // forward nothing while another host may have the subnet
	TakeOver    bool          `log:"takeOver"`               // take the lease with our PublicIP over from another node
	RenewMargin time.Duration `log:"subnetLeaseRenewMargin"` // time before expiry at which a lease is renewed; 1 to 1439 minutes
	Resync      time.Duration `log:"resync"`                 // time between two checks of kernel state; at least one second

	HealthzIP   string `log:"healthzIP"`   // address or host name; empty: all addresses; not checked if there is no port
	HealthzPort int    `log:"healthzPort"` // TCP port, 0 to 65535; 0: no health server
	HealthzTold bool   // HealthzIP was given: it is no default

	StatusSocket string `log:"statusSocket"` // path; empty: none

	Tuning Tuning

	Verbosity int    `log:"verbosity"` // 0: normal; larger prints more
	LogFormat string `log:"logFormat"` // "glog" or "json"

	// One of these is done instead of all else, and the other fields are zero.
	Version bool // print the version
	Help    bool // print the usage
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
	if d.Help || d.Version {
		return d, nil, nil
	}
	if _, ok := given["state-dir"]; !ok {
		// systemd sets it to several directories if the unit names several; the first is ours.
		if dir, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":"); dir != "" {
			d.StateDir = dir
		}
	}
	d.nameSocket(given)
	_, d.HealthzTold = given["healthz-ip"]
	d.HealthzIP = strings.TrimSpace(d.HealthzIP)
	if d.HealthzPort != 0 && !isHost(d.HealthzIP) {
		return Daemon{}, nil, flagtable.Invalid(d.HealthzIP, given.From("healthz-ip"), "give an IP address such as 0.0.0.0 or 127.0.0.1, or a host name")
	}
	more, err := d.Etcd.check(given, env)
	if err != nil {
		return Daemon{}, nil, err
	}
	return d, slices.Concat(warnings, more), nil
}

// EtcdFlags returns the flags that say how to reach etcd, for another program than the
// daemon: all but the choice of an API. Once they are complete, EtcdWarnings looks at them.
func EtcdFlags(e *Etcd) flagtable.Table {
	flags := slices.DeleteFunc(e.flags(), func(f flagtable.Flag) bool { return f.Name == "etcd-api" })
	return flagtable.Table{Prefix: variables, Flags: checkQuotes(flags)}
}

// NetworkFlags returns those with the choice of an API.
func NetworkFlags(e *Etcd) flagtable.Table {
	return flagtable.Table{Prefix: variables, Flags: checkQuotes(e.flags())}
}

// EtcdWarnings looks at what several flags say together. The warnings are sentences.
func EtcdWarnings(e *Etcd, given flagtable.Given, env flagtable.Env) ([]string, error) {
	return e.check(given, env)
}

// Endpoints reads etcd client URLs from a flag of such a program.
func Endpoints(value, from string) (urls []string, err error) {
	err = endpoints(&urls)(value, from)
	return urls, err
}

func (d *Daemon) nameSocket(given flagtable.Given) {
	if _, ok := given["status-socket"]; !ok {
		d.StatusSocket = SocketFor(d.SubnetFile)
	} else if d.StatusSocket == "off" {
		d.StatusSocket = ""
	}
}

// PlaceFlags returns the flags that say where the daemon of a host has its files, for
// another program. CompletePlaces ends what they say.
func PlaceFlags(d *Daemon) flagtable.Table {
	help := map[string]string{
		"subnet-file":   "the daemon's environment file for Docker",
		"status-socket": "the daemon's unix socket; without the flag, named after the subnet file: flanneld.sock for subnet.env",
		"state-dir":     "the daemon's directory for files that survive a reboot",
	}
	t := table(d)
	t.Flags = slices.DeleteFunc(t.Flags, func(f flagtable.Flag) bool { return help[f.Name] == "" })
	for i := range t.Flags {
		t.Flags[i].Help = help[t.Flags[i].Name]
	}
	return t
}

// CompletePlaces sets what was not given of PlaceFlags.
func CompletePlaces(d *Daemon, flags *pflag.FlagSet, env flagtable.Env) error {
	given, err := PlaceFlags(d).Complete(flags, env)
	d.nameSocket(given)
	return err
}

// SocketFor returns where a daemon with that subnet file has its socket: beside it, so that
// daemons of several networks have one each.
func SocketFor(subnetFile string) string {
	dir, name := filepath.Split(subnetFile)
	if name = strings.TrimSuffix(name, ".env"); name == "subnet" {
		name = "flanneld"
	}
	return filepath.Join(dir, name+".sock")
}

// Usage is the text of --help.
func Usage(argv0 string) string {
	return fmt.Sprintf("Usage: %s [OPTION]...\n", argv0) + flagtable.Help(table(new(Daemon)))
}

// String lists the options in the shape of the log line people grep for: the fields
// with a name for it. The password has none, since older daemons printed it there.
func (d Daemon) String() string {
	fields := []string{"etcdEndpoints:" + strings.Join(d.Etcd.Endpoints, ",")}
	for _, part := range []reflect.Value{reflect.ValueOf(d.Etcd), reflect.ValueOf(d)} {
		for i := range part.NumField() {
			name := part.Type().Field(i).Tag.Get("log")
			value := part.Field(i).Interface()
			if value == (netip.Addr{}) {
				value = ""
			}
			if name != "" {
				fields = append(fields, fmt.Sprintf("%s:%v", name, value))
			}
		}
	}
	return "{" + strings.Join(fields, " ") + "}"
}
