package offload

import (
	"encoding/binary"

	"flanneld/pkg/checksum"
)

// The most segments of a run. For UDP it is the limit of the kernel's own GRO; a TCP
// run seldom reaches it, since it ends at 65535 bytes.
const (
	maxRunTCP = 128
	maxRunUDP = 64
)

// Coalescer joins consecutive packets of a flow into GSO packets, as the kernel's GRO
// does, so that the next hop handles many as one. It joins only what can be cut into
// the same packets again, see joins. It emits packets in the order of Add.
//
// Set the fields before the first Add and do not copy a Coalescer after.
type Coalescer struct {
	// Emit takes a packet: h and then the pieces make up one write to a device
	// with IFF_VNET_HDR. There are at most 128 pieces, of 65535 bytes in all. h
	// and the slice of pieces are valid during the call, the bytes as long as
	// those given to Add.
	Emit func(h Header, pieces [][]byte)
	// UDP says that the device takes GSOUDP4: Linux 6.2 with TUN_F_USO4. Without
	// it only TCP is joined.
	UDP bool

	run    run
	pieces [maxRunTCP][]byte // of the run: the first packet, then payloads
}

// run is the packets that wait to become one. It is empty if count is 0.
type run struct {
	first      packet
	count      int
	limit      int  // of count
	total      int  // length of the joined packet, in bytes
	constantID bool // of two packets or more: all have the same ID
	push       bool // the last one had PSH
	ended      bool // nothing may follow
}

// Add takes p, which must stay as it is until it is emitted, at the latest by the
// next Flush; then its headers may be changed. It emits what p does not continue,
// and p if nothing can continue it.
func (c *Coalescer) Add(p IPv4) {
	next := inspect(p, c.UDP)
	if c.run.count > 0 && c.run.joins(next) {
		c.pieces[c.run.count] = p[next.headLen:]
		c.run.add(next)
	} else {
		c.Flush()
		c.pieces[0] = p
		c.run = start(next)
	}
	if c.run.ended {
		c.Flush()
	}
}

// Flush emits what waits for a continuation. Afterwards the memory given to Add is no
// longer used.
func (c *Coalescer) Flush() {
	n := c.run.count
	if n == 0 {
		return
	}
	var h Header
	switch {
	case n > 1:
		h = c.run.seal()
	case c.run.first.verified:
		h.Flags = DataValid
	}
	c.run.count = 0
	c.Emit(h, c.pieces[:n])
}

// Waiting returns how many packets wait for a continuation.
func (c *Coalescer) Waiting() int { return c.run.count }

// start returns the run that p begins; it ends at once if nothing can follow.
func start(p packet) run {
	limit := maxRunTCP
	if p.ip.Protocol() == protoUDP {
		limit = maxRunUDP
	}
	return run{first: p, count: 1, limit: limit, total: len(p.ip), ended: !p.joinable || p.push}
}

// joins reports whether p continues the run: whether the joined packet, cut by
// the rules of Splitter, gives back each packet byte for byte. There are two
// liberties, which are the kernel's too: packets that must not be fragmented may
// all have the same ID, which means nothing then (RFC 6864), and a cut counts up;
// and a checksum that was written as the other zero of one's complement is made
// again.
func (r *run) joins(p packet) bool {
	first := &r.first
	if !p.joinable || r.ended || r.count >= r.limit ||
		p.payloadLen() > first.payloadLen() ||
		r.total+p.payloadLen() > maxTotalLength {
		return false
	}
	a, b := first.ip, p.ip
	// Version, IHL (which is 5) and TOS; flags and fragment offset, TTL and protocol.
	if binary.NativeEndian.Uint16(a) != binary.NativeEndian.Uint16(b) ||
		binary.NativeEndian.Uint32(a[6:]) != binary.NativeEndian.Uint32(b[6:]) {
		return false
	}
	// Both addresses; both ports.
	if binary.NativeEndian.Uint64(a[12:]) != binary.NativeEndian.Uint64(b[12:]) ||
		binary.NativeEndian.Uint32(a[20:]) != binary.NativeEndian.Uint32(b[20:]) {
		return false
	}
	counts := b.id() == a.id()+uint16(r.count) && !r.constantID
	constant := b.id() == a.id() && b.DontFragment() && (r.count == 1 || r.constantID)
	if !counts && !constant {
		return false
	}
	return a.Protocol() == protoUDP || r.joinsTCP(a[ipv4HeaderLen:], p)
}

// joinsTCP compares what TCP has beside its ports. a is the first segment.
func (r *run) joinsTCP(a []byte, p packet) bool {
	b := p.ip[ipv4HeaderLen:]
	done := uint32(r.total - r.first.headLen)
	if tcpSeq(b) != tcpSeq(a)+done {
		return false
	}
	// Acknowledgement number; data offset, flags but PSH, window; urgent pointer
	// and options.
	const push = tcpPSH << 16
	return binary.BigEndian.Uint32(a[8:]) == binary.BigEndian.Uint32(b[8:]) &&
		binary.BigEndian.Uint32(a[12:])&^push == binary.BigEndian.Uint32(b[12:])&^push &&
		string(a[18:r.first.headLen-ipv4HeaderLen]) == string(b[18:p.headLen-ipv4HeaderLen])
}

// add counts p, which joins.
func (r *run) add(p packet) {
	r.constantID = p.ip.id() == r.first.ip.id()
	r.count++
	r.total += p.payloadLen()
	r.push = p.push
	r.ended = p.push || p.payloadLen() < r.first.payloadLen()
}

// seal turns the first packet's headers into those of the GSO packet, and returns the
// header that describes it. As a card expects, the transport checksum is the sum of the
// pseudo-header with the whole length.
func (r *run) seal() Header {
	p := r.first.ip
	length := uint16(r.total - ipv4HeaderLen)
	check := checksum.Update(binary.BigEndian.Uint16(p[10:]), uint16(len(p)), uint16(r.total))
	binary.BigEndian.PutUint16(p[2:], uint16(r.total))
	binary.BigEndian.PutUint16(p[10:], check)

	transport := p[ipv4HeaderLen:]
	h := Header{
		Flags:     NeedsChecksum,
		HdrLen:    uint16(r.first.headLen),
		GSOSize:   uint16(r.first.payloadLen()),
		CsumStart: ipv4HeaderLen,
	}
	if p.Protocol() == protoUDP {
		h.GSOType, h.CsumOffset = GSOUDP4, udpChecksumOffset
		binary.BigEndian.PutUint16(transport[4:], length)
	} else {
		h.GSOType, h.CsumOffset = GSOTCP4, tcpChecksumOffset
		if r.push {
			transport[13] |= tcpPSH
		}
	}
	binary.BigEndian.PutUint16(transport[h.CsumOffset:], p.pseudoHeader(length).Fold())
	return h
}
