package engine

import (
	"encoding/binary"
	"math/rand/v2"
)

// kind makes the packets of one flow. All of them have the same ports, and IDs
// that count up.
type kind struct {
	name     string
	protocol byte
	options  bool   // in the IPv4 header
	flags    uint16 // with the fragment offset
	payload  func(r *rand.Rand, n int) []byte
}

// kinds are all that a container may send. Those that are runs can be joined,
// so that some of them are.
var kinds = []kind{
	{name: "tcp run", protocol: 6, flags: 0x4000, payload: tcpRun},
	{name: "tcp", protocol: 6, flags: 0x4000, payload: tcpOdd},
	{name: "tcp with options", protocol: 6, options: true, payload: tcpOdd},
	{name: "udp run", protocol: 17, payload: udpRun},
	{name: "udp", protocol: 17, payload: udpOdd},
	{name: "udp with options", protocol: 17, options: true, payload: udpOdd},
	{name: "icmp", protocol: 1, payload: echo},
	{name: "icmp with options", protocol: 1, options: true, payload: echo},
	{name: "fragment", protocol: 17, flags: 0x2000, payload: piece},
	{name: "last fragment", protocol: 6, flags: 80, payload: piece},
	{name: "fragment with options", protocol: 1, options: true, flags: 0x2000 | 7, payload: piece},
	{name: "other", protocol: 253, payload: piece},
}

// packet returns the nth packet of the flow between two addresses, at most mtu
// bytes.
func (k kind) packet(r *rand.Rand, n int, src, dst [4]byte) []byte {
	header := 20
	if k.options {
		header += 4 * (1 + n%10)
	}
	payload := k.payload(r, n)
	if header+len(payload) > mtu {
		payload = payload[:(mtu-header)&^7]
	}
	p := make([]byte, header, mtu)
	p[0], p[1] = 0x40|byte(header/4), 0x28
	binary.BigEndian.PutUint16(p[2:], uint16(header+len(payload)))
	binary.BigEndian.PutUint16(p[4:], uint16(1+n%65535)) // the kernel replaces 0
	binary.BigEndian.PutUint16(p[6:], k.flags)
	p[8], p[9] = 64, k.protocol
	copy(p[12:], src[:])
	copy(p[16:], dst[:])
	for i := 20; i < header; i++ {
		p[i] = 1 // no operation
	}
	p = append(p, payload...)
	if k.flags&0x3fff == 0 {
		complete(p, header)
	}
	return p
}

// complete fills in lengths and checksums of the transport.
func complete(p []byte, header int) {
	t := p[header:]
	pseudo := append(append([]byte(nil), p[12:20]...), 0, p[9], byte(len(t)>>8), byte(len(t)))
	at := 0
	switch p[9] {
	case 1:
		at, pseudo = 2, nil
	case 6:
		at = 16
	case 17:
		at = 6
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	default:
		return
	}
	binary.BigEndian.PutUint16(t[at:], 0)
	sum := ^naiveSum(pseudo, t)
	if p[9] == 17 && sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(t[at:], sum)
}

// some returns a header and so many bytes.
func some(r *rand.Rand, n int, header ...byte) []byte {
	at := r.IntN(len(block) - n)
	return append(header, block[at:at+n]...)
}

// tcpRun is a stream, in segments of 1000 bytes with a timestamp, and a push
// now and then.
func tcpRun(r *rand.Rand, n int) []byte {
	b := some(r, 1000, 0x30, 0x39, 0, 80, 0, 0, 0, 0, 0, 0, 0, 7, 0x80, 0x10, 1, 0, 0, 0, 0, 0,
		1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2)
	binary.BigEndian.PutUint32(b[4:], uint32(n)*1000)
	if n%17 == 16 {
		b[13] |= 8
	}
	return b
}

// tcpOdd has any flags, options and length, 0 among them.
func tcpOdd(r *rand.Rand, n int) []byte {
	options := 4 * r.IntN(11)
	b := make([]byte, 20+options)
	binary.BigEndian.PutUint16(b, 12345)
	binary.BigEndian.PutUint16(b[2:], 81)
	binary.BigEndian.PutUint32(b[4:], r.Uint32())
	binary.BigEndian.PutUint32(b[8:], r.Uint32())
	b[12], b[13] = byte(len(b)/4)<<4, byte(r.Uint32())
	binary.BigEndian.PutUint32(b[14:], r.Uint32())
	for i := 20; i < len(b); i++ {
		b[i] = 1
	}
	return some(r, n%(mtu-20-60+1), b...)
}

// udpRun is of one length for some time.
func udpRun(r *rand.Rand, n int) []byte {
	length := 1200
	if n%23 == 22 {
		length = r.IntN(1200)
	}
	return some(r, length, 0x30, 0x39, 0, 53, 0, 0, 0, 0)
}

func udpOdd(r *rand.Rand, n int) []byte {
	return some(r, n%(mtu-20-8+1), 0x30, 0x39, 0, 54, 0, 0, 0, 0)
}

func echo(r *rand.Rand, n int) []byte {
	return some(r, n%(mtu-20-8+1), 8, 0, 0, 0, 0, 1, byte(n>>8), byte(n))
}

// piece is nothing that begins with a transport header. As of a fragment that
// others follow, its length is a multiple of 8.
func piece(r *rand.Rand, n int) []byte { return some(r, 8*(n%((mtu-20)/8+1))) }
