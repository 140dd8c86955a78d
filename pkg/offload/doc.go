// Package offload does to large packets what network cards and the kernel do: it
// cuts what a TUN device hands out as one packet into the segments that the wire
// takes, and joins received segments to packets that the device takes whole.
//
// Everything is a function of bytes. The package makes no system call, keeps no
// packet, does not allocate once it runs, and knows neither peers nor datagrams;
// of routing it knows that the TTL goes down. It handles IPv4 only.
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
//
// Errors are of type Error, so that a caller can count them in an array.
package offload
