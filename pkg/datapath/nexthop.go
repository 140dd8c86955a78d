package datapath

import "net/netip"

// NextHop is where a host sends a packet first. The zero NextHop means that it
// does not send it.
type NextHop struct {
	Link    string
	Gateway netip.Addr // invalid: none, the destination is itself on the link
}
