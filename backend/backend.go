// Package backend says what every backend is: something that, told which
// hosts have which subnets, makes this host forward to exactly these. It knows
// nothing of where leases come from.
package backend

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"

	"flanneld/pkg/datapath"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// Backend forwards packets to the subnets of peers.
type Backend interface {
	// Type is the backend's type as leases publish it, in lower case; empty for
	// the backends whose leases never had one.
	Type() string

	// Advertise writes into a claim of this host's lease what peers must know
	// (its Data). It is called once per family, before the lease is taken.
	Advertise(c *subnet.Claim) error

	// MTU is the largest packet that containers may send, in bytes.
	MTU() int

	// Set makes this host forward to exactly the peers in planes. It is
	// idempotent and, when nothing differs, cheap. After an error it may be
	// called again with the same planes.
	Set(ctx context.Context, planes []Plane) error

	// Run does whatever else the backend has to do, until ctx is done.
	Run(ctx context.Context) error
}

// Skipper is a Backend that may be unable to forward to some peers, whatever the
// kernel does.
type Skipper interface {
	// Skipped returns the subnets of peers that the last Set left out.
	Skipped() []netip.Prefix
}

// Plane is one address family of the overlay as this host sees it.
type Plane struct {
	Network netip.Prefix   // the whole overlay
	Subnet  netip.Prefix   // this host's part
	Peers   []subnet.Claim // everybody else's, sorted by subnet, none overlapping Subnet

	// Blackhole: what is addressed to Subnet and finds no container is dropped
	// and does not go back out by the default route.
	Blackhole bool
	// Fenced: this host may not own Subnet any more. There are no peers, and what is
	// addressed to Network is dropped and does not go out by the default route.
	Fenced bool
}

// Underlay is the network that tunnels run over, as this host is joined to it.
// A family without addresses is the zero Addr.
type Underlay struct {
	Name   string     // of the network interface
	Index  int        // of the network interface, when it was looked up
	MTU    int        // of the network interface, in bytes
	V4, V6 netip.Addr // the interface's own addresses

	PublicV4, PublicV6 netip.Addr // the addresses that peers are told
}

// Params is what a backend is made from.
type Params struct {
	Config   json.RawMessage // the configuration's "Backend" object; nil if absent
	Underlay Underlay
	Scope    datapath.Scope // what in the kernel is this daemon's
	Kernel   Kernel
	State    State
	Log      *slog.Logger

	Filter      Filter
	Without     []string    // of the kernel's help, by name; a backend knows which it can do without
	Descriptors Descriptors // nil: nothing is kept
}

// Filter says who may send to this host. The zero value lets in only what
// registered hosts send.
type Filter struct {
	Off bool // let in anything
	// Allow is from where peers may send beside their PublicIP, since there is
	// NAT between or they have several addresses.
	Allow []netip.Prefix
}

// Descriptors keeps open files over a restart of the daemon, by name.
type Descriptors interface {
	// Take returns what an earlier run kept. It is the caller's to close.
	Take(name string) []int
	// Put keeps files beside those there are. They stay the caller's.
	Put(name string, fds ...int) error
	// Remove forgets what is kept, and returns when it is closed.
	Remove(name string) error
}

// Sharing is a Backend whose open files the one that follows it in this process can
// have. Share may be called at any time.
type Sharing interface {
	// Share returns copies of the files that it has Put under the name. They are the
	// caller's to close.
	Share(name string) []int
}

// Counter is a number that only grows.
type Counter struct {
	Name  string // as in udp_tx_packets
	Value uint64
}

// Counting is a Backend that counts. Counters may be called at any time, and
// returns the same names in the same order each time.
type Counting interface{ Counters() []Counter }

// Living is a Backend whose Run moves packets itself.
type Living interface {
	// Alive returns nil once what moves packets has shown that it runs, and an
	// error that says what does not when ctx is done. It may be called at any time.
	Alive(ctx context.Context) error
}

// Kernel is this host's network as backends see and change it.
type Kernel interface {
	datapath.Kernel

	// NextHops returns where the kernel sends packets to the destinations, in
	// their order: zero for one that cannot be reached or that is reached
	// through a link of the scope.
	NextHops(ctx context.Context, s datapath.Scope, dsts []netip.Addr) ([]datapath.NextHop, error)

	// LinkMTU returns the MTU of any link, in bytes.
	LinkMTU(ctx context.Context, link string) (int, error)
}

// NoOptions reads the "Backend" object of a backend without options, and returns
// the names of what is there in vain. An error is a *config.Error with the
// position within the object.
func NoOptions(raw json.RawMessage) (unknown []string, err error) {
	return config.DecodeBackend(raw, &struct{}{})
}

// WarnUnknown warns of names in the "Backend" object that are no options of a
// backend of the type.
func WarnUnknown(log *slog.Logger, typ string, unknown []string) {
	for _, u := range unknown {
		log.Warn("Ignoring an unknown option of the " + typ + " backend: " + u)
	}
}

// State keeps small files over a reboot.
type State interface {
	// Load returns the named file's content, or an error that is
	// fs.ErrNotExist if there is none.
	Load(name string) ([]byte, error)
	// Save replaces the named file atomically.
	Save(name string, data []byte) error
}
