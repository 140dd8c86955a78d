package engine

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
	"flanneld/pkg/udpbatch"
)

// icmpPerSecond is what the kernel allows itself (net.ipv4.icmp_msgs_per_sec).
const icmpPerSecond = 1000

// answers sends ICMP errors about packets, for all queues. That happens seldom, so the
// queues can wait for each other.
type answers struct {
	mu    sync.Mutex
	limit limiter
	raw   int // socket; -1: none
	probe *udpbatch.PathProbe
	buf   []byte
}

// newAnswers opens the sockets. Where a raw one is not permitted, no ICMP errors are
// sent.
func newAnswers(log *slog.Logger) (*answers, error) {
	probe, err := udpbatch.NewPathProbe()
	if err != nil {
		return nil, err
	}
	// The errors' source is an address of this host. If they came out of the device,
	// the kernel would drop them as martians unless accept_local is set. So the host
	// sends them itself, and its firewall sees them as such.
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		log.Warn("Cannot send ICMP errors about dropped packets", "err", err,
			"hint", "run as root or with CAP_NET_RAW")
	}
	limit := limiter{perSecond: icmpPerSecond}
	return &answers{limit: limit, raw: raw, probe: probe, buf: make([]byte, 0, icmpMaxLen)}, nil
}

func (a *answers) close() {
	_ = a.probe.Close()
	if a.raw >= 0 {
		_ = unix.Close(a.raw)
	}
}

// answer sends an ICMP error about a packet, from this host's address in the overlay.
func (q *queue) answer(f *forwarding, e icmpError, mtu int, p offload.IPv4) {
	if !f.addr.IsValid() {
		return
	}
	a := q.engine.answers
	a.mu.Lock()
	defer a.mu.Unlock()
	b := appendError(a.buf, e, mtu, f.addr, p)
	if len(b) == 0 {
		return
	}
	if !a.limit.allow(time.Now()) || a.send(b, p.Src()) != nil {
		q.counters.add(ICMPSuppressed, 1)
		return
	}
	q.counters.add(ICMP, 1)
}

// send sends a packet.
func (a *answers) send(p []byte, to netip.Addr) error {
	return unix.Sendto(a.raw, p, 0, &unix.SockaddrInet4{Addr: to.As4()})
}

// pathMTU returns the MTU in bytes of the path to an endpoint, zero if the
// kernel does not know.
func (a *answers) pathMTU(to netip.Addr) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	mtu, _ := a.probe.MTU(to)
	return mtu
}
