package engine

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab"
	"flanneld/pkg/tun"
)

// window is how many packets are under way at most: what no buffer loses.
const window = 256

// mixture sends packets of all kinds from a container to another, and compares
// what comes out: byte for byte, and in order within each flow.
type mixture struct {
	src, dst [4]byte
	raw      int // sends
	capture  int // receives
	random   *rand.Rand
	sent     []int      // of each kind
	underWay [][][]byte // of each kind
}

// newMixture makes b's container a bystander that gets all packets to one more
// address, so that its kernel does not answer. What an engine has joined is cut
// by the kernel before it is looked at.
func newMixture(t testing.TB, a, b *side) *mixture {
	t.Helper()
	needs(t, "ethtool")
	m := &mixture{
		src: a.subnet.Addr().As4(), dst: b.subnet.Addr().As4(), random: rand.New(rand.NewPCG(1, 2)),
		sent: make([]int, len(kinds)), underWay: make([][][]byte, len(kinds)),
	}
	m.dst[3] = 77
	link, err := b.c.Output("ip", "-br", "link", "show", "eth0")
	must(t, err)
	b.ip(t, "neigh replace %d.%d.%d.%d lladdr %s dev %s", m.dst[0], m.dst[1], m.dst[2], m.dst[3],
		strings.Fields(link)[2], netlab.Bridge)
	must(t, b.Host.Run("ethtool", "-K", "ve-c", "tso", "off", "gso", "off", "tx", "off"))
	inside(t, a.c.Namespace.Namespace(), func() (err error) {
		m.raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	t.Cleanup(func() { _ = unix.Close(m.raw) })
	inside(t, b.c.Namespace.Namespace(), func() (err error) {
		const ip = 0x0008 // ETH_P_IP as the network has it
		m.capture, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, ip)
		return err
	})
	t.Cleanup(func() { _ = unix.Close(m.capture) })
	// What else the container gets is not to fill it.
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_ABS | unix.BPF_W, K: 16},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(m.dst[:]), Jf: 1},
		{Code: unix.BPF_RET, K: 65536},
		{Code: unix.BPF_RET},
	}
	must(t, unix.SetsockoptSockFprog(m.capture, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}))
	must(t, unix.SetsockoptInt(m.capture, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
	must(t, unix.SetsockoptTimeval(m.capture, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	return m
}

// transfer sends n packets of each kind, at random but so that often several of
// one flow follow each other.
func (m *mixture) transfer(t testing.TB, n int) {
	t.Helper()
	left := make([]int, len(kinds))
	for i := range left {
		left[i] = n
	}
	for total := n * len(kinds); total > 0; {
		under := 0
		for under < min(window, total) {
			k := m.random.IntN(len(kinds))
			for range min(left[k], 1+m.random.IntN(40), window-under) {
				m.send(t, k)
				left[k]--
				under++
			}
		}
		m.receive(t, under)
		total -= under
		if t.Failed() {
			return
		}
	}
}

func (m *mixture) send(t testing.TB, k int) {
	t.Helper()
	src := m.src
	src[3] = byte(100 + k)
	p := kinds[k].packet(m.random, m.sent[k], src, m.dst)
	m.sent[k]++
	m.underWay[k] = append(m.underWay[k], p)
	to := unix.SockaddrInet4{Addr: m.dst}
	if err := unix.Sendto(m.raw, p, 0, &to); err != nil {
		t.Fatalf("send %s of %d bytes: %v", kinds[k].name, len(p), err)
	}
}

// receive compares so many packets with those under way.
func (m *mixture) receive(t testing.TB, n int) {
	t.Helper()
	b := make([]byte, 65536)
	for n > 0 {
		length, _, err := unix.Recvfrom(m.capture, b, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatalf("%d packets did not arrive (%v): %s", n, err, m.missing())
		}
		got := b[:length]
		if length < 20 || [4]byte(got[16:20]) != m.dst {
			continue // of the container itself
		}
		k := int(got[15]) - 100
		if k < 0 || k >= len(kinds) || len(m.underWay[k]) == 0 {
			t.Fatalf("a packet that was not sent: % x", got)
		}
		want := m.underWay[k][0]
		m.underWay[k] = m.underWay[k][1:]
		n--
		// Two hosts and two engines have forwarded it.
		want[8] = 60
		header := int(want[0]&15) * 4
		copy(want[10:], []byte{0, 0})
		sum := ^naiveSum(want[:header])
		want[10], want[11] = byte(sum>>8), byte(sum)
		if !bytes.Equal(got, want) {
			t.Fatalf("%s: got %d bytes, want %d (-want +got):\n-% x\n+% x", kinds[k].name, len(got), len(want),
				want[:min(80, len(want))], got[:min(80, len(got))])
		}
	}
}

func (m *mixture) missing() string {
	var names []string
	for k, packets := range m.underWay {
		if len(packets) > 0 {
			names = append(names, kinds[k].name)
		}
	}
	return strings.Join(names, ", ")
}

func TestPacketsOfAllKindsArriveAsTheyAreAndInOrder(t *testing.T) {
	for name, r := range map[string]rung{
		"all":         {},
		"two queues":  {tun: tun.Options{Queues: 2}},
		"four queues": {tun: tun.Options{Queues: 4}},
		"no USO":      {tun: tun.Options{NoUSO: true}},
		"no header":   {tun: tun.Options{NoHeader: true}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newPair(t)
			connect(t, a, b, r, r)
			newMixture(t, a, b).transfer(t, 600)
			a.drops(t)
			b.drops(t)
			busy := 0
			for _, q := range a.queues {
				if q.counters[Tx+Packets].Load() > 0 {
					busy++
				}
			}
			if len(a.queues) > 1 && busy < 2 {
				t.Errorf("%d of %d queues sent something", busy, len(a.queues))
			}
			rx := b.Counters()
			t.Logf("%d packets in %d datagrams and batches, %d writes to the device", rx[Rx+Packets], rx[Rx+Messages], rx[Rx+Units])
			if joined := int64(rx[Rx+Packets]-rx[Rx+Units]) > 150; joined != (name != "no header") {
				t.Errorf("%d writes for %d packets", rx[Rx+Units], rx[Rx+Packets])
			}
		})
	}
}
