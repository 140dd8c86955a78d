// Package doctor says what is wrong with a host of the overlay, and what mends it. Each
// check is a value, which looks at one thing and names what it saw. The package decides
// what is a fault; it does not know which backends and stores there are, nor how its
// results are printed. It changes nothing but what a Result's Fix does, when it is called.
package doctor

import (
	"context"
	"fmt"
	"time"
)

// State says how a check ended.
type State string

// The states.
const (
	Pass State = "pass"
	Warn State = "warn" // it works, and will not always, or not for all
	Fail State = "fail"
	Skip State = "skip" // nobody can tell, or there is nothing to tell
)

// Result is what a check has found.
type Result struct {
	State  State
	Saw    string   // the evidence, in one line
	More   []string // further evidence, a line each
	Remedy []string // commands to paste, a line each; "# " begins what is none. None with Pass and Skip

	// Fix mends what was found, if that is safe: nothing that works can end by it. Nil: a
	// person has to decide.
	Fix func() error
}

// Check looks at one thing.
type Check struct {
	Name  string // as it is asked for, such as "docker-bridge"
	About string // what has to be so, in a few words
	Needs Need
	Look  func(context.Context, *Host) Result
}

// Need says without what a check cannot tell.
type Need uint8

// The needs.
const (
	Root     Need = 1 << iota // the right to change the network, and to look at other processes
	Flags                     // the daemon's
	Config                    // the network configuration, and the Flags
	Lease                     // this host's
	Leases                    // of all hosts, as etcd or the state directory has them, and the Flags
	Forwards                  // that the backend forwards
	Current                   // that the daemon runs what the Config says: else what is asked for, and the remedy, are the next daemon's
)

// Checks returns all checks, in the order of their numbers, from 1 on. A number never
// gets another meaning; new checks come last.
func Checks() []Check {
	return []Check{
		{"daemon", "flanneld runs and answers", 0, lookDaemon},
		{"lease", "this host has a lease, and etcd has it too", Flags | Lease, lookLease},
		{"subnet-file", "the subnet file says what the lease does", Lease, lookSubnetFile},
		{"docker-bridge", "Docker's bridge has the lease's subnet, and its containers the overlay's MTU", Flags | Lease, lookBridge},
		{"docker-options", "daemon.json and dockerd's options are those of the subnet file", Root | Flags | Lease, lookDockerOptions},
		{"forwarding", "the kernel passes packets on", Forwards, lookForwarding},
		{"public-ip", "no two leases have one PublicIP", Leases, lookPublicIP},
		{"backends", "all hosts forward in the way that the configuration says", Config | Lease | Leases, lookBackends},
		{"kernel", "the kernel's devices, addresses, neighbours and routes are as the leases want them", Current | Config | Lease | Leases, lookKernel},
		{"firewall", "no rule drops the overlay's packets", Root | Current | Config | Lease | Forwards, lookFirewall},
		{"leftovers", "nothing is left of daemons that do not run here", Root | Config, lookLeftovers},
		{"overlap", "nothing else has addresses of the overlay", Current | Config | Lease | Leases, lookOverlap},
		{"reverse-path", "rp_filter does not drop what comes from peers", Current | Config | Lease | Leases | Forwards, lookReversePath},
		{"cards", "no other card is in the external interface's subnet", Config, lookCards},
		{"source", "this host sends from the address that it publishes, and so do its neighbours", Root | Config | Lease | Forwards, lookSource},
		{"neighbours", "the ARP table has room for the hosts of the subnet", Config | Leases | Forwards, lookNeighbours},
		{"managed", "no network manager takes the overlay's devices for its own", 0, lookManaged},
		{"etcd", "each endpoint answers, with the API that the network lies in", Flags, lookEtcd},
		{"clock", "this host's clock and etcd's agree", Flags, lookClock},
		{"certificates", "the certificates that etcd and this host show each other last", Flags, lookCertificates},
		{"port", "the tunnel's packets get to peers and back", Root | Current | Config | Lease | Leases | Forwards, lookPort},
		{"mtu", "packets of the overlay's MTU get to peers and back", Root | Current | Config | Lease | Leases | Forwards, lookMTU},
		{"checksum", "TCP inside the overlay has right checksums", Root | Current | Config | Lease | Leases | Forwards, lookChecksum},
	}
}

// checkTime is the longest time of one check.
const checkTime = 30 * time.Second

// Run makes a check, unless the host lacks what that needs.
func (c Check) Run(ctx context.Context, h *Host) Result {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	if why := h.lacks(ctx, c.Needs); why != "" {
		return skip("%s", why)
	}
	return c.Look(ctx, h)
}

func pass(format string, args ...any) Result {
	return Result{State: Pass, Saw: fmt.Sprintf(format, args...)}
}
func warn(format string, args ...any) Result {
	return Result{State: Warn, Saw: fmt.Sprintf(format, args...)}
}
func fail(format string, args ...any) Result {
	return Result{State: Fail, Saw: fmt.Sprintf(format, args...)}
}
func skip(format string, args ...any) Result {
	return Result{State: Skip, Saw: fmt.Sprintf(format, args...)}
}

// mend adds what to do.
func (r Result) mend(lines ...string) Result {
	r.Remedy = append(r.Remedy, lines...)
	return r
}

// with adds evidence.
func (r Result) with(lines ...string) Result {
	r.More = append(r.More, lines...)
	return r
}
