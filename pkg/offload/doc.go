// Package offload does the work of network cards for a TUN device: it cuts a GSO packet
// from the device into segments for the wire, and joins received segments into GSO
// packets for the device.
//
// It makes no system call, keeps no packet, and does not allocate once it runs. It knows
// neither peers nor datagrams, handles IPv4 only, and decrements the TTL.
//
// From the device to the wire, for each read:
//
//	h, err := DecodeHeader(buf)
//	p, err := ParseIPv4(buf[HeaderLen:n])
//	peer := lookup(p.Dst())
//	if !p.DecrementTTL() { … }
//	err = splitter.Start(h, p)
//	for splitter.Left() > 0 {
//		segment := splitter.Next(arena[used:])
//		used += splitter.HeadLen()
//		// One datagram: segment.Head, then segment.Payload.
//	}
//
// From the wire to the device, for each batch of datagrams:
//
//	for _, datagram := range batch {
//		p, err := ParseIPv4(datagram)
//		if !p.DecrementTTL() { … }
//		coalescer.Add(p) // may call Emit, with what becomes one writev
//	}
//	coalescer.Flush()
package offload
