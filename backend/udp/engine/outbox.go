package engine

import (
	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
	"flanneld/pkg/udpbatch"
)

const (
	// maxOut is how many packets are collected before they are sent: two of
	// the largest have 90 segments, if their flows have a usual MSS.
	maxOut = 512
	// headArena has room for the headers of all, at most 60 bytes of IP and as
	// many of TCP.
	headArena = maxOut * 120
)

// outbox collects packets, and joins those that may leave as one train.
type outbox struct {
	trains   bool // the kernel has them
	heads    []byte
	used     int // of heads
	pieces   []unix.Iovec
	packets  []outPacket
	messages []outMessage
	batch    *udpbatch.SendBatch
}

// outPacket is where a packet lies.
type outPacket struct {
	head         []byte // its headers at least
	length       int
	piece, count int // in pieces
}

// outMessage is a row of packets for one peer. All have the same length but the
// last, which may be shorter.
type outMessage struct {
	peer         *peer
	first, count int // in packets
	size, bytes  int // of a packet but the last, of all
	open         bool
}

// newOutbox makes one that writes headers into heads, of headArena bytes.
func newOutbox(trains bool, heads []byte) outbox {
	return outbox{
		trains:   trains,
		heads:    heads,
		pieces:   make([]unix.Iovec, 0, 2*maxOut),
		packets:  make([]outPacket, 0, maxOut),
		messages: make([]outMessage, 0, maxOut),
		batch:    udpbatch.NewSendBatch(maxOut),
	}
}

// full reports whether there may be no room for another packet.
func (o *outbox) full() bool {
	return len(o.packets) == maxOut || headArena-o.used < 120
}

// left returns how many messages the socket has not taken yet.
func (o *outbox) left() int { return o.batch.Left() }

// add appends a packet, whose headers may be the next of heads.
func (o *outbox) add(p *peer, s offload.Segment, headLen int, trains bool) {
	o.used += headLen
	packet := outPacket{head: s.Head, length: s.Len(), piece: len(o.pieces), count: 1}
	o.pieces = appendPiece(o.pieces, s.Head)
	if len(s.Payload) > 0 {
		o.pieces = appendPiece(o.pieces, s.Payload)
		packet.count = 2
	}
	o.packets = append(o.packets, packet)
	if n := len(o.messages); n > 0 && trains {
		m := &o.messages[n-1]
		if m.open && m.peer == p && packet.length <= m.size && m.count < udpbatch.MaxSegments &&
			m.bytes+packet.length <= udpbatch.MaxPayload {
			m.count++
			m.bytes += packet.length
			m.open = packet.length == m.size
			return
		}
	}
	o.messages = append(o.messages, outMessage{
		peer: p, first: len(o.packets) - 1, count: 1, size: packet.length, bytes: packet.length, open: trains,
	})
}

func appendPiece(pieces []unix.Iovec, b []byte) []unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return append(pieces, v)
}

// seal makes the messages ready to be sent.
func (o *outbox) seal() {
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
func (o *outbox) piecesOf(p *outPacket) []unix.Iovec { return o.pieces[p.piece:][:p.count] }

// reset empties it.
func (o *outbox) reset() {
	o.used = 0
	o.pieces, o.packets, o.messages = o.pieces[:0], o.packets[:0], o.messages[:0]
	o.batch.Reset()
}
