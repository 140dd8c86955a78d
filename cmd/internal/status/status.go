// Package status says how this host is: to systemd, over HTTP, and to our own programs.
// The parts of the daemon write on a Board what each knows; the Board decides from all
// of it whether the host is ready, and what is said in words. It does not know how the
// parts come to what they say, and mends nothing.
package status

import (
	"net/netip"
	"time"
)

// Status is how this host is, at one moment. Its JSON form is stable: fields are added,
// never renamed.
type Status struct {
	Text     string    `json:"text"`  // in one sentence, as systemd shows it
	Ready    bool      `json:"ready"` // containers of this host can be reached, and Docker was told its subnet
	Lease    Lease     `json:"lease,omitzero"`
	Backend  string    `json:"backend,omitempty"` // the type, as the configuration spells it
	Peers    int       `json:"peers"`             // that this host forwards to, by the last complete pass
	EtcdAway bool      `json:"etcdAway"`          // etcd has not answered since the start
	Lost     int       `json:"lost,omitempty"`    // hosts whose leases etcd has lost, and that are kept
	Troubles []Trouble `json:"troubles,omitempty"`
}

// Lease is how the host stands with its lease. The zero Lease: it takes none yet.
type Lease struct {
	State    string       `json:"state"`           // as subnet.State spells it
	Since    time.Time    `json:"since"`           // of the state
	Subnet   netip.Prefix `json:"subnet,omitzero"` // zero: there is none
	SubnetV6 netip.Prefix `json:"subnetV6,omitzero"`
	Expires  time.Time    `json:"expires,omitzero"` // unless it is renewed; zero: a reservation, or not held
	Reason   string       `json:"reason,omitempty"` // why it is not held, or at risk
}

// Trouble is what is wrong with one part.
type Trouble struct {
	Part Part   `json:"part"`
	What string `json:"what"`
}

// Part is something that can be wrong.
type Part string

// The parts.
const (
	Config     Part = "config"     // the network configuration in etcd is missing or unusable
	Datapath   Part = "datapath"   // the kernel's routes, neighbours and devices
	Firewall   Part = "firewall"   // the rules that let peers in
	SubnetFile Part = "subnetFile" // what Docker reads
	Host       Part = "host"       // what is not the daemon's: Docker's bridge, the kernel's forwarding
)
