package engine

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

// impairments are of a thousand datagrams.
type impairments struct{ lost, twice, late, corrupt int }

// relay is a host between two others, each of which takes it for the other. It
// passes on datagrams one by one, but not all, and not all as they were.
type relay struct {
	a, b   netip.AddrPort
	conn   *udpbatch.Conn
	out    *udpbatch.SendBatch
	random *rand.Rand
	rates  impairments
	did    impairments
	late   []held
	end    atomic.Bool
	done   sync.WaitGroup
}

// held is a datagram that others overtake.
type held struct {
	to   netip.AddrPort
	b    []byte
	left int // of those
}

// connectBy runs engines on two hosts with a relay between them. It ends with
// the test; the function ends it before and returns what it did.
func connectBy(t testing.TB, rates impairments, r rung) (a, b *side, end func() impairments) {
	t.Helper()
	l := newLab(t)
	a, b = newSide(t, l, "a", 1), newSide(t, l, "b", 2)
	h, err := l.Host("relay", "192.168.1.20/24")
	must(t, err)
	m := &relay{
		a: a.endpoint(), b: b.endpoint(), out: udpbatch.NewSendBatch(1),
		random: rand.New(rand.NewPCG(3, 4)), rates: rates,
	}
	at := netip.AddrPortFrom(h.Addr().Addr(), port)
	inside(t, h.Namespace.Namespace(), func() (err error) {
		m.conn, err = udpbatch.Listen(at, udpbatch.Options{NoSegment: true, NoGRO: true})
		return err
	})
	a.open(t, r)
	b.open(t, r)
	for _, pair := range [][2]*side{{a, b}, {b, a}} {
		s := pair[0].state(pair[1])
		s.Peers[0].Endpoint = at
		pair[0].start(t, s)
	}
	m.done.Go(m.run)
	end = func() impairments {
		m.end.Store(true)
		m.done.Wait()
		return m.did
	}
	t.Cleanup(func() {
		end()
		m.conn.Close()
	})
	return a, b, end
}

func (m *relay) run() {
	in := udpbatch.NewReceiveBatch(64, make([]byte, 64*2048))
	fds := []unix.PollFd{{Fd: int32(m.conn.FD()), Events: unix.POLLIN}}
	for !m.end.Load() {
		if m.conn.Receive(in) != 0 {
			_, _ = unix.Poll(fds, 20)
			m.overtake(1000)
			continue
		}
		for i := range in.Len() {
			msg := in.Message(i)
			to := m.a
			if msg.From == m.a {
				to = m.b
			}
			m.pass(to, msg.Payload)
			m.overtake(1)
		}
	}
}

func (m *relay) happens(rate int, count *int) bool {
	if m.random.IntN(1000) >= rate {
		return false
	}
	*count++
	return true
}

func (m *relay) pass(to netip.AddrPort, b []byte) {
	if m.happens(m.rates.lost, &m.did.lost) {
		return
	}
	if m.happens(m.rates.late, &m.did.late) {
		m.late = append(m.late, held{to, append([]byte(nil), b...), 1 + m.random.IntN(30)})
		return
	}
	if m.happens(m.rates.twice, &m.did.twice) {
		m.send(to, b)
	}
	if m.happens(m.rates.corrupt, &m.did.corrupt) {
		// One bit: a checksum never fails to see that.
		b[m.random.IntN(len(b))] ^= 1 << m.random.IntN(8)
	}
	m.send(to, b)
}

// overtake says that so many others have passed.
func (m *relay) overtake(n int) {
	rest := m.late[:0]
	for _, h := range m.late {
		if h.left -= n; h.left > 0 {
			rest = append(rest, h)
			continue
		}
		m.send(h.to, h.b)
	}
	m.late = rest
}

func (m *relay) send(to netip.AddrPort, b []byte) {
	m.out.Reset()
	m.out.Add(to, appendPiece(nil, b), 0)
	for m.conn.Send(m.out) != 0 && !m.end.Load() {
		runtime.Gosched()
	}
}

func TestImpairedUnderlay(t *testing.T) {
	for name, row := range map[string]struct {
		rates impairments
		rung  rung
	}{
		"loss":       {rates: impairments{lost: 5}},
		"duplicates": {rates: impairments{twice: 100}},
		"reordering": {rates: impairments{late: 20}},
		"corruption": {rates: impairments{corrupt: 5}},
		"all of it":  {rates: impairments{3, 20, 3, 3}},
		"two queues": {rates: impairments{3, 20, 3, 3}, rung: rung{tun: tun.Options{Queues: 2}}},
		"no header":  {rates: impairments{3, 20, 3, 3}, rung: rung{tun: tun.Options{NoHeader: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, end := connectBy(t, row.rates, row.rung)
			start := time.Now()
			transferTCP(t, a.c, b.c, 4<<20)
			transferTCP(t, b.c, a.c, 4<<20)
			took := time.Since(start)
			did := end()
			for what, n := range map[string][2]int{
				"lost": {row.rates.lost, did.lost}, "twice": {row.rates.twice, did.twice},
				"late": {row.rates.late, did.late}, "corrupt": {row.rates.corrupt, did.corrupt},
			} {
				if n[0] > 0 && n[1] < 5 {
					t.Errorf("only %d were %s", n[1], what)
				}
			}
			t.Logf("%+v in %s", did, took)
			if name == "loss" || name == "duplicates" || name == "reordering" {
				a.drops(t)
				b.drops(t)
			}
		})
	}
}
