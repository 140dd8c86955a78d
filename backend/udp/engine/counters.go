package engine

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Reason is why packets were dropped.
type Reason int

// The reasons. Each direction counts its own.
const (
	IPv6               Reason = iota // an IPv6 packet
	Malformed                        // not an IP packet, or not one with the offloads it claims
	NoPeer                           // no peer's subnet has the destination
	TTLExceeded                      // no hop was left
	TooLarge                         // larger than the MTU, or than the path's
	UnknownSender                    // the datagram is from no peer's address
	ForeignSource                    // from a peer, but not out of its subnet
	ForeignDestination               // not to our subnet
	Truncated                        // a datagram larger than any packet
	NoBuffer                         // no room in the device or the socket
	Unreachable                      // no route to the peer, or the network is down
	Refused                          // the peer's kernel said that nobody listens
	Forbidden                        // a local firewall rule said no
	DeviceDown                       // the TUN device is down
	Other                            // any other error of a system call

	NumReasons = int(Other) + 1
)

// String returns the name in the form of a metric's label: "no_peer".
func (r Reason) String() string {
	names := [NumReasons]string{
		"ipv6", "malformed", "no_peer", "ttl_exceeded", "too_large", "unknown_sender", "foreign_source",
		"foreign_destination", "truncated", "no_buffer", "unreachable", "refused", "forbidden", "device_down", "other",
	}
	if r < 0 || int(r) >= NumReasons {
		return fmt.Sprintf("reason %d", int(r))
	}
	return names[r]
}

// Direction counts what went one way. A GSO packet counts as the packets that it is
// on the wire.
type Direction struct {
	Packets, Bytes uint64 // on the wire, without the outer headers: sent, or let in
	Messages       uint64 // GSO batches of datagrams, and single ones
	Units          uint64 // reads from the device, or writes to it
	Calls          uint64 // system calls on the socket that moved something
	Drops          [NumReasons]uint64
}

// Counters count since New.
type Counters struct {
	Tx, Rx         Direction // to peers, from peers
	ICMP           uint64    // ICMP errors that were sent about dropped packets
	ICMPSuppressed uint64    // ICMP errors above the limit, which were not sent
	Piecewise      uint64    // GSO batches that were refused and sent one by one
	Fragmented     uint64    // datagrams larger than the path's MTU that were sent in fragments
	Waits          uint64    // waits, since there was nothing to do
}

// direction is written by one queue and read by anybody. Except for drops, a queue
// adds to it once for each batch.
type direction struct {
	packets, bytes, messages, units, calls atomic.Uint64
	drops                                  [NumReasons]atomic.Uint64
}

func (d *direction) drop(r Reason, packets int) { d.drops[r].Add(uint64(packets)) }

func (d *direction) moved(packets, bytes, messages int) {
	d.packets.Add(uint64(packets))
	d.bytes.Add(uint64(bytes))
	d.messages.Add(uint64(messages))
}

func (d *direction) addTo(sum *Direction) {
	sum.Packets += d.packets.Load()
	sum.Bytes += d.bytes.Load()
	sum.Messages += d.messages.Load()
	sum.Units += d.units.Load()
	sum.Calls += d.calls.Load()
	for i := range d.drops {
		sum.Drops[i] += d.drops[i].Load()
	}
}

// counters are those of a queue.
type counters struct {
	tx, rx                                             direction
	icmp, icmpSuppressed, piecewise, fragmented, waits atomic.Uint64
}

func (c *counters) addTo(sum *Counters) {
	c.tx.addTo(&sum.Tx)
	c.rx.addTo(&sum.Rx)
	sum.ICMP += c.icmp.Load()
	sum.ICMPSuppressed += c.icmpSuppressed.Load()
	sum.Piecewise += c.piecewise.Load()
	sum.Fragmented += c.fragmented.Load()
	sum.Waits += c.waits.Load()
}

// reasonOf returns the reason for an error number of a send or a write.
func reasonOf(errno unix.Errno) Reason {
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
