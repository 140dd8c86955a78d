// Package status says how this host is: to systemd, over HTTP and a unix socket, and to
// our own programs. The parts of the daemon write on a Board what each knows; the Board
// decides from all of it whether the host is ready, and what is said in words. It does not
// know how the parts come to what they say, and mends nothing.
package status

import (
	"net/netip"
	"time"
)

// Schema is the version of Status's JSON form, which docs/status.md describes: fields are
// added, never renamed, removed, or given another meaning or unit.
const Schema = 1

// Status is how this host is, at one moment.
type Status struct {
	Schema  int       `json:"schema"`
	Time    time.Time `json:"time"`    // the moment
	Started time.Time `json:"started"` // the daemon
	Version string    `json:"version,omitempty"`
	PID     int       `json:"pid"` // in the daemon's own PID namespace
	Process int       `json:"-"`   // the same as whoever reads this sees it; 0: none runs, or it is hidden from here
	Prefix  string    `json:"etcdPrefix,omitempty"`

	Text     string   `json:"text"`               // in one sentence, as systemd shows it
	Ready    bool     `json:"ready"`              // containers of this host can be reached, and Docker was told its subnet
	NotReady []string `json:"notReady,omitempty"` // why not
	Failure  string   `json:"failure,omitempty"`  // why the daemon ends

	Lease    Lease    `json:"lease,omitzero"`
	Network  Network  `json:"network,omitzero"`
	Backend  Backend  `json:"backend,omitzero"`
	Underlay Underlay `json:"underlay,omitzero"`
	Etcd     Etcd     `json:"etcd"`

	Config       Condition `json:"config"`       // the network configuration in etcd
	Datapath     Condition `json:"datapath"`     // the kernel's routes, neighbours and devices
	Firewall     Condition `json:"firewall"`     // the rules of the packet filter
	SubnetFile   Condition `json:"subnetFile"`   // what Docker reads
	DockerBridge Condition `json:"dockerBridge"` // whether Docker's bridge agrees with the lease
	Forwarding   Condition `json:"forwarding"`   // whether the kernel passes packets on

	Peers    Peers     `json:"peers"`
	Traffic  []Sample  `json:"traffic,omitempty"` // of the overlay's device, oldest first
	Events   []Event   `json:"events,omitempty"`  // what has changed, oldest first
	Errors   []Event   `json:"errors,omitempty"`  // the log's warnings and errors, oldest first
	Counters []Counter `json:"counters,omitempty"`
}

// Condition is how one part is.
type Condition struct {
	State  State     `json:"state"`
	Since  time.Time `json:"since,omitzero"` // of the state; zero: nothing is known yet
	Reason string    `json:"reason,omitempty"`
}

// State is that of a part.
type State string

// The states.
const (
	Waiting  State = "waiting"  // nothing is known yet, or it is not its turn
	OK       State = "ok"       // as it should be
	Degraded State = "degraded" // but for some peers, or what others have to mend
	Failing  State = "failing"  // not as it should be
	Off      State = "off"      // nobody asked for it
)

// InStep reports whether the part does what it is there for.
func (c Condition) InStep() bool { return c.State == OK || c.State == Degraded || c.State == Off }

// Lease is how the host stands with its lease. The zero Lease: it takes none yet.
type Lease struct {
	State      string       `json:"state"`           // as subnet.State spells it
	Since      time.Time    `json:"since,omitzero"`  // of the state
	Subnet     netip.Prefix `json:"subnet,omitzero"` // zero: there is none
	SubnetV6   netip.Prefix `json:"subnetV6,omitzero"`
	PublicIP   netip.Addr   `json:"publicIP,omitzero"`
	PublicIPv6 netip.Addr   `json:"publicIPv6,omitzero"`
	Node       string       `json:"node,omitempty"`     // this host's id
	Reserved   bool         `json:"reserved,omitempty"` // it never expires
	Renewed    time.Time    `json:"renewed,omitzero"`   // when its last good write was sent
	Expires    time.Time    `json:"expires,omitzero"`   // unless it is renewed; zero: a reservation, or not held
	Reason     string       `json:"reason,omitempty"`   // why it is not held, or at risk
}

// Network is the overlay, and how much of it is leased.
type Network struct {
	Network   netip.Prefix `json:"network"`
	SubnetLen int          `json:"subnetLen"`
	NetworkV6 netip.Prefix `json:"networkV6,omitzero"`
	Leases    int          `json:"leases"`  // that are known, this host's included
	Subnets   int64        `json:"subnets"` // that there are for hosts (IPv4)
}

// Backend is how packets get to peers.
type Backend struct {
	Type   string `json:"type"`             // as the configuration spells it
	Path   string `json:"path,omitempty"`   // "kernel", "user space", or "none"
	Kernel string `json:"kernel,omitempty"` // whether the kernel moves packets in the place of user space: "full", or "off (why)"
	Device string `json:"device,omitempty"` // the overlay's own; empty: there is none
	MTU    int    `json:"mtu,omitempty"`    // of the overlay, in bytes
}

// Underlay is the external interface.
type Underlay struct {
	Interface string     `json:"interface"`
	MTU       int        `json:"mtu"` // in bytes
	Address   netip.Addr `json:"address,omitzero"`
	AddressV6 netip.Addr `json:"addressV6,omitzero"`
	Since     time.Time  `json:"since"`
}

// Etcd is how etcd answers.
type Etcd struct {
	Condition
	API           string    `json:"api,omitempty"`           // "v2" or "v3"; empty: not known yet
	LastAnswer    time.Time `json:"lastAnswer,omitzero"`     // to whatever request
	LastError     string    `json:"lastError,omitempty"`     // also if it is over
	LastErrorTime time.Time `json:"lastErrorTime,omitzero"`  //
	FromCache     bool      `json:"fromCache,omitempty"`     // it has not answered since the start, which went by what was known before
	WatchFailing  bool      `json:"watchFailing,omitempty"`  // what other hosts do is not heard of
	LastListing   time.Time `json:"lastListing,omitzero"`    // when all leases were last read
	LastChange    time.Time `json:"lastLeaseEvent,omitzero"` // when the watch last told of one
}

// Peers are the other hosts. A host with two address families counts once for each.
type Peers struct {
	Wanted     int `json:"wanted"`     // subnets that packets are to be forwarded to
	Programmed int `json:"programmed"` // that they are
	Pending    int `json:"pending"`    // that the next pass is for
	Failed     int `json:"failed"`     // that the kernel refuses
	Skipped    int `json:"skipped"`    // that the backend cannot forward to
	Ignored    int `json:"ignored"`    // leases that are no peers, beside those that are wanted
	Kept       int `json:"kept"`       // whose leases etcd has lost
	InKernel   int `json:"inKernel"`   // of those in place, to which packets do not go through user space, though to others they do

	List    []Peer `json:"list,omitempty"`    // the worst first, then by subnet
	Omitted int    `json:"omitted,omitempty"` // from List, whose length is bounded
}

// Peer is one subnet of another host.
type Peer struct {
	Subnet   netip.Prefix `json:"subnet"`
	PublicIP netip.Addr   `json:"publicIP,omitzero"`
	Backend  string       `json:"backend,omitempty"`
	Path     string       `json:"path,omitempty"`
	State    PeerState    `json:"state"`
	Since    time.Time    `json:"since"` // of the state
	Reason   string       `json:"reason,omitempty"`
}

// PeerState is that of a peer.
type PeerState string

// The states of peers, from the worst on.
const (
	PeerFailed     PeerState = "failed"
	PeerSkipped    PeerState = "skipped"
	PeerIgnored    PeerState = "ignored"
	PeerPending    PeerState = "pending"
	PeerProgrammed PeerState = "programmed"
)

// Sample is what a device has moved since it was made.
type Sample struct {
	Time      time.Time `json:"time"`
	RxBytes   uint64    `json:"rxBytes"`
	TxBytes   uint64    `json:"txBytes"`
	RxPackets uint64    `json:"rxPackets"`
	TxPackets uint64    `json:"txPackets"`
	Dropped   uint64    `json:"dropped"` // packets, of both directions
}

// Event is something that has happened, perhaps several times in a row.
type Event struct {
	Seq      uint64       `json:"seq,omitempty"` // grows with each event, by one; none is given to what the log has
	Time     time.Time    `json:"time"`          // of the last time
	Level    string       `json:"level"`
	Part     string       `json:"part,omitempty"`
	Text     string       `json:"text"`
	Count    int          `json:"count"`
	Subnet   netip.Prefix `json:"subnet,omitzero"`   // of the one peer that it is about
	PublicIP netip.Addr   `json:"publicIP,omitzero"` // likewise
}

// Counter is a number that only grows, from zero at the start of the daemon.
type Counter struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	Value  uint64            `json:"value"`
}

// Part is something that can be wrong and is not the daemon's.
type Part string

// The parts.
const (
	DockerBridge Part = "dockerBridge"
	Forwarding   Part = "forwarding"
)
