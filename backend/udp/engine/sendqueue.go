package engine

import (
	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
	"flanneld/pkg/udpbatch"
)

const (
	// maxOut is the largest number of packets that are collected before they are sent.
	// Two of the largest GSO packets have 90 segments at a usual MSS.
	maxOut = 512
	// headArena has room for all headers, each at most 60 bytes of IP and as many of
	// TCP.
	headArena = maxOut * 120
)

// sendQueue collects packets, and joins those that may leave as one GSO batch.
type sendQueue struct {
	gso      bool // the kernel takes GSO batches
	heads    []byte
	used     int // of heads
	pieces   []unix.Iovec
	packets  []outPacket
	messages []message
	batch    *udpbatch.SendBatch
}

// outPacket is where a packet lies.
type outPacket struct {
	head         []byte // its headers at least
	length       int
	piece, count int // in pieces
}

// message is a packet for a peer, or a GSO batch of several. All of these have the
// same length but the last, which may be shorter.
type message struct {
	peer         *peer
	first, count int  // in packets
	size, bytes  int  // of each packet but the last; of all together
	open         bool // another packet may be added
}

// newSendQueue returns a sendQueue that writes headers into heads, of headArena bytes.
func newSendQueue(gso bool, heads []byte) sendQueue {
	return sendQueue{
		gso:      gso,
		heads:    heads,
		pieces:   make([]unix.Iovec, 0, 2*maxOut),
		packets:  make([]outPacket, 0, maxOut),
		messages: make([]message, 0, maxOut),
		batch:    udpbatch.NewSendBatch(maxOut),
	}
}

// full reports whether there may be no room for another packet.
func (o *sendQueue) full() bool {
	return len(o.packets) == maxOut || headArena-o.used < 120
}

// left returns how many messages the socket has not taken yet.
func (o *sendQueue) left() int { return o.batch.Left() }

// add appends a packet. Its first headLen bytes may lie in heads. With batch it may be
// joined with the last one.
func (o *sendQueue) add(p *peer, s offload.Segment, headLen int, batch bool) {
	o.used += headLen
	packet := outPacket{head: s.Head, length: s.Len(), piece: len(o.pieces), count: 1}
	o.pieces = appendPiece(o.pieces, s.Head)
	if len(s.Payload) > 0 {
		o.pieces = appendPiece(o.pieces, s.Payload)
		packet.count = 2
	}
	o.packets = append(o.packets, packet)
	if n := len(o.messages); n > 0 && batch {
		m := &o.messages[n-1]
		if m.open && m.peer == p && packet.length <= m.size && m.count < udpbatch.MaxSegments &&
			m.bytes+packet.length <= udpbatch.MaxPayload {
			m.count++
			m.bytes += packet.length
			m.open = packet.length == m.size
			return
		}
	}
	o.messages = append(o.messages, message{
		peer: p, first: len(o.packets) - 1, count: 1, size: packet.length, bytes: packet.length, open: batch,
	})
}

func appendPiece(pieces []unix.Iovec, b []byte) []unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return append(pieces, v)
}

// seal hands the messages to the batch that the socket sends.
func (o *sendQueue) seal() {
	for i := range o.messages {
		m := &o.messages[i]
		last := &o.packets[m.first+m.count-1]
		segment := 0
		if m.count > 1 {
			segment = m.size
		}
		o.batch.Add(m.peer.Endpoint, o.pieces[o.packets[m.first].piece:last.piece+last.count], segment)
	}
}

// piecesOf returns a packet's pieces.
func (o *sendQueue) piecesOf(p *outPacket) []unix.Iovec { return o.pieces[p.piece:][:p.count] }

// reset empties it.
func (o *sendQueue) reset() {
	o.used = 0
	o.pieces, o.packets, o.messages = o.pieces[:0], o.packets[:0], o.messages[:0]
	o.batch.Reset()
}
