package engine

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

// naive is a host of the first releases: a device without offloads, one packet
// in each system call, a buffer of exactly the MTU. It is strict in what it
// receives.
type naive struct {
	to       netip.AddrPort
	tun      *tun.Queue
	conn     *udpbatch.Conn
	stop     atomic.Bool
	done     sync.WaitGroup
	mu       sync.Mutex
	received map[string]int // by what it is
	wrong    []string       // the first few
}

// naiveRung is what such a host does without.
var naiveRung = rung{tun: tun.Options{NoHeader: true}, udp: udpbatch.Options{NoSegment: true, NoGRO: true}}

func newNaive(to netip.AddrPort, device *tun.Device, conn *udpbatch.Conn) *naive {
	return &naive{to: to, tun: device.Queues()[0], conn: conn, received: make(map[string]int)}
}

// startNaive runs one on a side in place of an engine.
func startNaive(t testing.TB, s, other *side) *naive {
	t.Helper()
	s.open(t, naiveRung)
	n := newNaive(other.endpoint(), s.device, s.conns[0])
	n.done.Go(n.run)
	s.stop = func() {
		n.stop.Store(true)
		n.done.Wait()
		s.stop = nil
	}
	return n
}

func (n *naive) run() {
	b := make([]byte, mtu)
	out, in := udpbatch.NewSendBatch(1), udpbatch.NewReceiveBatch(1, make([]byte, mtu))
	fds := []unix.PollFd{{Fd: int32(n.tun.FD()), Events: unix.POLLIN}, {Fd: int32(n.conn.FD()), Events: unix.POLLIN}}
	for !n.stop.Load() {
		for both := 0; both < 2; {
			both = 0
			if length, errno := n.tun.Read(b); errno != 0 {
				both++
			} else if b[0]>>4 == 4 && hop(b) {
				out.Reset()
				out.Add(n.to, appendPiece(nil, b[:length]), 0)
				_ = n.conn.Send(out)
			}
			if n.conn.Receive(in) != 0 {
				both++
				continue
			}
			m := in.Message(0)
			what, err := verify(m.Payload)
			if m.Truncated {
				err = fmt.Errorf("larger than the MTU")
			}
			n.mu.Lock()
			n.received[what]++
			if err != nil && len(n.wrong) < 10 {
				n.wrong = append(n.wrong, fmt.Sprintf("%v: % x", err, m.Payload[:min(60, len(m.Payload))]))
			}
			n.mu.Unlock()
			if err == nil && hop(m.Payload) {
				_ = n.tun.Writev(appendPiece(nil, m.Payload))
			}
		}
		_, _ = unix.Poll(fds, 50)
	}
}

// hop takes one from the TTL.
func hop(p []byte) bool {
	if p[8] <= 1 {
		return false
	}
	p[8]--
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], ^naiveSum(p[:int(p[0]&15)*4]))
	return true
}

// naiveSum is RFC 1071 word by word.
func naiveSum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(b[0])<<8 | uint32(b[1])
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum>>16 + sum&0xffff)
}

// verify says what a datagram is, and what is wrong with it: it must be exactly
// one IPv4 packet, with right checksums.
func verify(p []byte) (string, error) {
	if len(p) < 20 || p[0]>>4 != 4 {
		return "nonsense", fmt.Errorf("no IPv4 packet")
	}
	header := int(p[0]&15) * 4
	if header < 20 || header > len(p) || int(binary.BigEndian.Uint16(p[2:])) != len(p) {
		return "nonsense", fmt.Errorf("wrong length")
	}
	if naiveSum(p[:header]) != 0xffff {
		return "nonsense", fmt.Errorf("wrong header checksum")
	}
	if binary.BigEndian.Uint16(p[6:])&0x3fff != 0 {
		return "fragment", nil
	}
	payload := p[header:]
	pseudo := append(append([]byte(nil), p[12:20]...), 0, p[9], byte(len(payload)>>8), byte(len(payload)))
	what, least, sum := "", 0, uint16(0)
	switch p[9] {
	case 1:
		what, least, sum = "icmp", 8, naiveSum(payload)
	case 6:
		what, least, sum = "tcp", 20, naiveSum(pseudo, payload)
	case 17:
		what, least, sum = "udp", 8, naiveSum(pseudo, payload)
		if len(payload) >= 8 && (int(binary.BigEndian.Uint16(payload[4:])) != len(payload) || payload[6] == 0 && payload[7] == 0) {
			return what, fmt.Errorf("wrong UDP length or no checksum")
		}
	default:
		return "other", nil
	}
	if header > 20 {
		what += " with options"
	}
	if len(payload) < least {
		return what, fmt.Errorf("header is cut off")
	}
	if sum != 0xffff {
		return what, fmt.Errorf("wrong transport checksum")
	}
	return what, nil
}

func TestEveryDatagramIsOnePacketAsTheFirstReleasesSent(t *testing.T) {
	for name, r := range map[string]rung{
		"all":        {},
		"no segment": {udp: udpbatch.Options{NoSegment: true}},
		"no header":  {tun: tun.Options{NoHeader: true}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newPair(t)
			a.open(t, r)
			a.start(t, a.state(b))
			n := startNaive(t, b, a)
			// More than 100,000 segments, most of them with everything on.
			size, each := 4<<20, 100
			if name == "all" && !testing.Short() {
				size, each = 150<<20, 1500
			}
			transferTCP(t, a.c, b.c, size)
			transferTCP(t, b.c, a.c, size)
			// Segments whose IPv4 header has options: the kernel hands them out
			// unsplit, too.
			transferTCP(t, a.c, b.c, size/20, 1, 1, 1, 0)
			transferTCP(t, b.c, a.c, 1<<20, 1, 1, 1, 0)
			traffic(t, a, b, 4<<20)
			transferUDP(t, a.c, b.c, 64, everySize(29)...)
			newMixture(t, a, b).transfer(t, each)
			newMixture(t, b, a).transfer(t, each)
			b.stop()
			for _, w := range n.wrong {
				t.Error(w)
			}
			total := 0
			for _, count := range n.received {
				total += count
			}
			// What the other way carried was compared in the containers.
			if back := a.Counters()[Rx+Packets]; total < size/1500 || back < uint64(size/1500) {
				t.Errorf("%d datagrams one way and %d the other, want more than %d each", total, back, size/1500)
			}
			for what, least := range map[string]int{
				"tcp": size / 1500, "tcp with options": size / 20 / 1500, "udp": 2000, "udp with options": each,
				"icmp": each, "icmp with options": each, "fragment": 3 * each, "other": each,
			} {
				if n.received[what] < least {
					t.Errorf("%d of %s, want at least %d", n.received[what], what, least)
				}
			}
			t.Logf("received %v", n.received)
			a.drops(t)
		})
	}
}

// everySize returns lengths of UDP payloads, from the least that transferUDP
// sends to the most that is no fragment.
func everySize(step int) []int {
	var sizes []int
	for n := 4; n <= mtu-20-8; n += step {
		sizes = append(sizes, n)
	}
	return sizes
}

func TestVerifyIsStrict(t *testing.T) {
	good := []byte(packet(17, 20, 0, 0, 9, 0, 9, 0, 9, 0, 0, 1))
	binary.BigEndian.PutUint16(good[26:], ^naiveSum([]byte{10, 1, 0, 2, 10, 1, 9, 2, 0, 17, 0, 9}, good[20:]))
	if _, err := verify(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x10
		if _, err := verify(bad); err == nil && i != 6 { // a fragment has no checksum
			t.Errorf("with another byte %d it passes", i)
		}
	}
	if _, err := verify(append(good, 0)); err == nil {
		t.Error("with a byte more it passes")
	}
}
