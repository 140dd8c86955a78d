package engine

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Counter is the place of a number in Counters.
type Counter int

// The numbers of each direction, which stand from Tx on and from Rx on. A GSO packet
// counts as the packets that it is on the wire.
const (
	Packets  Counter = iota // sent, or let in
	Bytes                   // of these on the wire, without the outer headers
	Messages                // GSO batches of datagrams, and single ones
	Units                   // reads from the device, or writes to it
	Calls                   // system calls on the socket that moved something

	IPv6               // dropped, as are all that follow: an IPv6 packet
	Malformed          // not an IP packet, or not one with the offloads it claims
	NoPeer             // no peer's subnet has the destination
	TTLExceeded        // no hop was left
	TooLarge           // larger than the MTU, or than the path's
	UnknownSender      // the datagram is from no peer's address
	ForeignSource      // from a peer, but not out of its subnet
	ForeignDestination // not to our subnet
	Truncated          // a datagram larger than any packet
	NoBuffer           // no room in the device or the socket
	Unreachable        // no route to the peer, or the network is down
	Refused            // the peer's kernel said that nobody listens
	Forbidden          // a local firewall rule said no
	DeviceDown         // the TUN device is down
	Other              // any other error of a system call

	perDirection
)

// The places of the directions.
const (
	Tx = iota * perDirection // to peers
	Rx                       // from peers
	general
)

// The numbers that have no direction.
const (
	ICMP           = general + iota // ICMP errors that were sent about dropped packets
	ICMPSuppressed                  // ICMP errors above the limit, which were not sent
	Piecewise                       // GSO batches that were refused and sent one by one
	Fragmented                      // packets larger than the path's MTU that may be fragmented, and were sent so
	Waits                           // waits, since there was nothing to do

	numCounters
)

// String returns the name in the form of a metric's: "tx_dropped_no_peer".
func (c Counter) String() string {
	if c >= general {
		return [...]string{"icmp_sent", "icmp_suppressed", "trains_sent_piecewise", "packets_fragmented", "waits"}[c-general]
	}
	return [...]string{"tx_", "rx_"}[c/perDirection] + [...]string{
		"packets", "bytes", "messages", "units", "calls", "dropped_ipv6", "dropped_malformed", "dropped_no_peer",
		"dropped_ttl_exceeded", "dropped_too_large", "dropped_unknown_sender", "dropped_foreign_source",
		"dropped_foreign_destination", "dropped_truncated", "dropped_no_buffer", "dropped_unreachable",
		"dropped_refused", "dropped_forbidden", "dropped_device_down", "dropped_other",
	}[c%perDirection]
}

// Counters count since New.
type Counters [numCounters]uint64

// counters are those of a queue, which alone adds to them. Except for what is dropped,
// it does so once for each batch.
type counters [numCounters]atomic.Uint64

func (c *counters) add(at Counter, n int) { c[at].Add(uint64(n)) }

// moved counts packets of a direction.
func (c *counters) moved(way Counter, packets, bytes, messages int) {
	c.add(way+Packets, packets)
	c.add(way+Bytes, bytes)
	c.add(way+Messages, messages)
}

// reasonOf returns what an error number of a send or a write counts as.
func reasonOf(errno unix.Errno) Counter {
	switch errno {
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return NoBuffer
	case unix.EMSGSIZE:
		return TooLarge
	case unix.ECONNREFUSED:
		return Refused
	case unix.EPERM, unix.EACCES:
		return Forbidden
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EHOSTDOWN, unix.ENODEV, unix.EADDRNOTAVAIL:
		return Unreachable
	}
	return Other
}
