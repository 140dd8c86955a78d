// Package engine moves packets between a TUN device and peers: one bare IPv4 packet
// in each UDP datagram, as all releases send them.
//
// It decides for each packet where it goes, whether it may come in, and which ICMP
// error answers it if it may not. It is given the device, the sockets and the peers,
// and does not know where they come from.
//
// Each queue of the device and its socket have one goroutine, which moves packets in
// both directions, many at a time.
//
// The path of a packet to a peer:
//
//  1. queue.run looks in turn at the device and at the socket. When neither has
//     anything, waiter spins for a moment, then sleeps, and after a while parks.
//  2. sender.transmit reads packets from the device. One read may return a GSO packet:
//     up to 64 KB of one flow, which the kernel leaves to us to cut (virtio header,
//     [offload.DecodeHeader]).
//  3. sender.forward finds the peer in the table by the longest subnet, decrements the
//     TTL, and cuts GSO packets into packets of the wire's size (offload.Splitter).
//  4. sendQueue.add puts each packet behind the last one. Packets of one length to one
//     peer become one message, a GSO batch, which the kernel cuts into datagrams (UDP_SEGMENT).
//  5. sender.flush hands all messages to the socket in one system call (sendmmsg),
//     and sender.complete counts them and deals with refusals.
//  6. A batch that the kernel refuses goes out packet by packet; a packet that is
//     larger than the path's MTU is answered by an ICMP error (refusal.go). Where no
//     router tells that MTU, prober finds it out.
//
// The path of a packet from a peer:
//
//  1. receiver.receive takes many messages in one call (recvmmsg). One message may be
//     a GRO batch: datagrams of one length from one sender.
//  2. receiver.accept parses each packet and asks forwarding.admit: the sender must
//     be a peer, the packet's source in that peer's subnet, its destination in ours.
//  3. The coalescer joins packets of one flow into a GSO packet again.
//  4. receiver.write writes that to the device with its virtio header.
//
// The peers are in one value, forwarding, which never changes: Engine.Set replaces it
// as a whole, and each thread loads it once per round.
package engine
