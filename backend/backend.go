// Package backend says what every backend is: something that, given which hosts
// have which subnets, plans how the kernel must be for this host to forward to
// exactly these. It decides what is common to all backends, and which leases can be
// peers. It does not know where leases come from, or who carries a plan out.
package backend

import (
	"context"
	"log/slog"
	"net/netip"

	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

// Backend plans how packets get to the subnets of peers.
type Backend interface {
	// Type is the backend's type as leases publish it, in lower case; empty for
	// the backends whose leases never had one.
	Type() string

	// Advertise writes into a claim of this host's lease what peers must know
	// (its Data). It is called once per family before the lease is taken, and when
	// Params.Changed was.
	Advertise(c *subnet.Claim) error

	// MTU is the largest packet that containers may send, in bytes.
	MTU() int

	// Plan returns what forwards to exactly the peers in planes, the first of which
	// is that of IPv4. It asks the kernel, but changes nothing and opens nothing. Like
	// Advertise, it is called by one goroutine at a time.
	Plan(ctx context.Context, planes []Plane) (Plan, error)
}

// Forwarder is a Backend that moves packets itself.
type Forwarder interface {
	Backend

	// Forward begins to move the packets of planes, or goes on with them. It
	// follows each Plan, once the kernel is as that says.
	Forward(planes []Plane) error

	// Run moves packets until ctx is done, and then lets go of all that is open.
	Run(ctx context.Context) error

	// Alive returns nil once what moves packets has shown that it runs, and an
	// error that says what does not when ctx is done. It may be called at any time.
	Alive(ctx context.Context) error

	// Counters may be called at any time, and returns the same names in the same
	// order each time.
	Counters() []Counter

	// InKernel may be called at any time. It says whether the kernel moves packets in the
	// backend's place, as "full" or "off (why)", and to which peers' subnets.
	InKernel() (how string, peers []netip.Prefix)
}

// Counter is a number that only grows.
type Counter struct {
	Name  string // as in udp_tx_packets
	Value uint64
}

// New makes a backend.
type New func(Params) (Backend, error)

// Plane is one address family of the overlay as this host sees it.
type Plane struct {
	Network netip.Prefix   // the whole overlay
	Subnet  netip.Prefix   // this host's part
	Peers   []subnet.Claim // everybody else's, sorted by subnet, none overlapping Subnet

	// Blackhole drops packets to Subnet that find no container, which otherwise
	// leave by the default route.
	Blackhole bool
	// Fenced is set while this host may not own Subnet any more: there are no
	// peers, and packets to Network are dropped.
	Fenced bool
	// Partial is set while there may be peers that are not among Peers: what is there
	// of others stays, but for routes to what is Needed.
	Partial bool
	// Needed is what this host reaches without the overlay.
	Needed []netip.Prefix
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
	Underlay Underlay
	Scope    datapath.Scope // what in the kernel is this daemon's
	Kernel   Kernel
	State    State
	Log      *slog.Logger

	Filter      Filter
	Without     []string // kernel offloads that the backend must not use, by its own names
	Descriptors Descriptors

	// Before is the backend whose place this one takes in this process, which may
	// still run. What it has open is taken over instead of what Descriptors keeps.
	// Nil: there is none.
	Before Backend

	// Claim makes a device of a fixed name, which the backend can do without, this
	// process's. An error says whose it is. Nil: nobody else makes such devices.
	Claim func(device string) error

	// Changed is called when what Advertise says has changed: it is asked again after a
	// pass, which comes at once. It does not block. Nil: nobody asks.
	Changed func()
}

// Filter says who may send to this host. The zero value lets in only what
// registered hosts send.
type Filter struct {
	Off   bool           // let in anything
	Allow []netip.Prefix // where peers may send from, too: behind NAT, or with several addresses
}

// Descriptors keeps open files over a restart of the daemon, by name.
type Descriptors interface {
	// Take returns what an earlier run kept. The caller closes it.
	Take(name string) []int
	// Put keeps copies of files beside those that are kept.
	Put(name string, fds ...int) error
	// Remove closes what is kept, and returns when that is done.
	Remove(name string) error
}

// Kernel is this host's network as backends see it.
type Kernel interface {
	// Read returns what the scope covers.
	Read(ctx context.Context, s datapath.Scope) (datapath.State, error)

	// NextHops returns where the kernel sends packets from that one of the sources which
	// is of their family to the destinations, in their order: zero for one that cannot
	// be reached or that is reached through a link of the scope. A source that is
	// invalid does not count.
	NextHops(ctx context.Context, s datapath.Scope, sources, dsts []netip.Addr) ([]datapath.NextHop, error)

	// LinkMTU returns the MTU of any link, in bytes.
	LinkMTU(ctx context.Context, link string) (int, error)
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

// Claims returns what this host's lease says of the backend and the underlay, without
// its subnets and its node. V6 is set if the overlay has IPv6.
func Claims(b Backend, u Underlay, v6 bool) (l subnet.Lease, err error) {
	l.Type = b.Type()
	l.V4.PublicIP = u.PublicV4
	if err = b.Advertise(&l.V4); err == nil && v6 {
		l.V6.PublicIP = u.PublicV6
		err = b.Advertise(&l.V6)
	}
	return l, err
}
