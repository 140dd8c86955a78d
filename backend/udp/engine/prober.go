package engine

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
)

const (
	// surelyFits is the length in bytes of packets that any path carries: Linux believes
	// no ICMP error that tells of an MTU below 552 (net.ipv4.route.min_pmtu).
	surelyFits = 552 - outerLen
	// answerTime is the longest time that an answer is waited for.
	answerTime = 300 * time.Millisecond
	// attempts is how often the same lengths are tried: packets get lost for other reasons.
	attempts = 4
	// A path is looked at again after these times, when there are large packets for it.
	goodFor, narrowFor = 10 * time.Minute, time.Minute
	// maxProbes is the largest number of paths that are looked at at once.
	maxProbes = 32

	// ProbeID is the ICMP identifier of these pings. The fast path leaves their answers to the engine.
	ProbeID = 0xf1a2

	echoReply   = 0
	echoRequest = 8
	probeTTL    = 64
)

// prober finds out how long packets for a peer may be on a path whose routers drop larger
// ones without an ICMP error, or behind a firewall that drops those. It sends pings to
// the peer's first address, of several lengths, in datagrams that must not be fragmented.
// Hosts of all releases answer them. Nothing is sent until there are large packets for
// the peer.
type prober struct {
	from     netip.AddrPort // the tunnel's own
	answers  *answers
	counters counters      // of what is sent
	slots    chan struct{} // one for each path that is looked at
	quit     chan struct{} // closed by close
	done     sync.WaitGroup
	log      *slog.Logger

	mu       sync.Mutex
	warnings limiter // all paths may be narrow at once
}

func newProber(from netip.AddrPort, a *answers, log *slog.Logger) *prober {
	return &prober{from: from, answers: a, slots: make(chan struct{}, maxProbes), quit: make(chan struct{}), log: log,
		warnings: limiter{perSecond: 1}}
}

func (p *prober) close() {
	close(p.quit)
	p.done.Wait()
}

// want has the path to a peer looked at, but for those that are too many at once.
func (p *prober) want(f *forwarding, to *peer) {
	select {
	case p.slots <- struct{}{}:
	default:
		return
	}
	was := to.probed.Load()
	may := f.mtu > surelyFits && f.addr.IsValid() && p.answers.raw >= 0
	if int(was) >= f.mtu || !may || !to.probed.CompareAndSwap(was, int32(f.mtu)) {
		<-p.slots
		return
	}
	p.done.Go(func() {
		p.look(f, to)
		<-p.slots
	})
}

// look finds out the longest packet that the path carries.
func (p *prober) look(f *forwarding, to *peer) {
	if p.known(f, to) {
		return
	}
	to.answered.Store(0)
	if !p.ask(f, to, []int{f.mtu, surelyFits}) || p.known(f, to) { // by now
		return
	}
	if n := int(to.answered.Load()); n > 0 && n < f.mtu && !p.ask(f, to, lengths(f.mtu)) {
		return
	}
	p.found(f, to, int(to.answered.Load()), true)
}

// known reports whether the kernel knows that the path is narrow, from the route or an
// ICMP error.
func (p *prober) known(f *forwarding, to *peer) bool {
	n := p.answers.pathMTU(to.Endpoint.Addr()) - outerLen
	if n <= 0 || n >= f.mtu {
		return false
	}
	p.found(f, to, n, false)
	return true
}

// lengths returns those of the packets of usual paths, up to the longest.
func lengths(longest int) []int {
	all := []int{longest}
	for _, mtu := range []int{9000, 8950, 8500, 4352, 2000, 1500, 1492, 1480, 1476, 1462, 1450, 1440, 1420, 1400, 1380, 1360, 1340,
		1320, 1300, 1280, 1200, 1100, 1006, 900, 800, 700, 600} {
		if n := mtu - outerLen; n < longest {
			all = append(all, n)
		}
	}
	return all
}

// ask sends packets of the lengths, several times unless the longest one is answered. It
// returns false if the engine is closed meanwhile.
func (p *prober) ask(f *forwarding, to *peer, lengths []int) bool {
	for range attempts {
		for _, n := range lengths {
			echo := appendICMP(nil, probeTTL, f.addr, to.Subnet.Masked().Addr(), echoRequest<<8, ProbeID<<16, make([]byte, n-28))
			// An error is one that others meet too.
			if p.answers.send(datagram(p.from, to.Endpoint, echo), to.Endpoint.Addr()) == nil {
				p.counters.moved(Tx, 1, n, 1)
			}
		}
		for end := time.Now().Add(answerTime); time.Now().Before(end) && int(to.answered.Load()) < lengths[0]; {
			select {
			case <-p.quit:
				return false
			case <-time.After(answerTime / 10):
			}
		}
		if int(to.answered.Load()) >= lengths[0] {
			return true
		}
	}
	return true
}

// datagram returns an IPv4 packet with a UDP datagram, which must not be fragmented.
func datagram(from, to netip.AddrPort, payload []byte) []byte {
	p := make([]byte, outerLen, outerLen+len(payload))
	src, dst := from.Addr().As4(), to.Addr().As4()
	p[0], p[6], p[8], p[9] = 0x45, 0x40, probeTTL, unix.IPPROTO_UDP // the kernel completes the rest
	copy(p[12:], src[:])
	copy(p[16:], dst[:])
	binary.BigEndian.PutUint16(p[20:], from.Port())
	binary.BigEndian.PutUint16(p[22:], to.Port())
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(payload)))
	return append(p, payload...) // without a checksum of its own: it has the payload's
}

// answered reports whether a packet is an answer, and notes how long it is.
func (p *prober) answered(f *forwarding, packet offload.IPv4) bool {
	icmp := packet.Payload()
	if len(icmp) < 8 || icmp[0] != echoReply || binary.BigEndian.Uint16(icmp[4:]) != ProbeID || packet.IsFragment() || packet.Dst() != f.addr {
		return false
	}
	from := f.table.lookup(number(packet.Src()))
	if from == nil || packet.Src() != from.Subnet.Masked().Addr() {
		return false
	}
	if n := int32(len(packet)); n > from.answered.Load() {
		from.answered.Store(n)
	}
	return true
}

// found notes the longest packet that a path carries; zero if nothing is known. It warns
// if nobody else says so.
func (p *prober) found(f *forwarding, to *peer, longest int, warn bool) {
	again := goodFor
	switch {
	case longest <= 0:
		again = narrowFor
	case longest >= f.mtu:
		if to.limit.Swap(0) != 0 {
			p.log.Info("Large packets reach a peer again", "subnet", to.Subnet, "peer", to.Endpoint.Addr(), "length", f.mtu)
		}
	default:
		again = narrowFor
		if was := to.limit.Swap(int32(longest)); int(was) != longest && warn && p.mayWarn() {
			p.log.Warn("Large packets to a peer are lost without an ICMP error; containers are told to send smaller ones",
				"subnet", to.Subnet, "peer", to.Endpoint.Addr(), "longest", longest, "mtu", f.mtu,
				"hint", fmt.Sprintf("let ICMP fragmentation-needed through between the hosts, or set the MTU of their interfaces to %d", longest+outerLen))
		}
	}
	time.AfterFunc(again, func() { to.probed.Store(0) })
}

func (p *prober) mayWarn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.warnings.allow(time.Now())
}
