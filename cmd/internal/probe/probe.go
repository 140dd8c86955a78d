// Package probe measures how packets get from this host to peers through the overlay: how
// long they take, how many are lost, and how large they may be. It decides how often a peer
// is asked and when it has not answered; it does not know why a peer should be reached, nor
// what is to be done about one that is not.
package probe

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"flanneld/pkg/backoff"
)

const (
	echoes      = 5 // that a peer is sent for times and losses
	interval    = 100 * time.Millisecond
	unanswered  = 3 // echoes in a row at the start: there is nobody
	mostWait    = time.Second
	leastWait   = 200 * time.Millisecond // for a large packet, whose way may be busy
	smallPacket = 84                     // bytes: what ping(8) sends
	sizeTries   = 3                      // of a size, before it is taken for lost
	parallel    = 64                     // peers: some 600 packets a second at most, and 64 descriptors
)

// Options say what is measured.
type Options struct {
	MTU      int            // in bytes: the largest packet that should pass; zero: only small ones are sent
	Progress func(done int) // is called after each peer; nil: nobody waits
}

// Result is what was found out about one address.
type Result struct {
	Address        netip.Addr
	Sent, Received int           // small echoes
	Least          time.Duration // from an echo to its answer; zero, as the two others: none came
	Mean           time.Duration
	Most           time.Duration
	MTU            int   // bytes of the largest packet that came back; zero: not measured
	BlackHole      bool  // larger packets than MTU are lost, and nobody tells their sender so
	Err            error // why nothing was sent, or what a router has answered; nil: neither
}

// Address returns the address of a peer's subnet at which its host answers: that of the
// overlay's device, the subnet's first, or where a backend has none, that of Docker's bridge,
// the next.
func Address(backend string, subnet netip.Prefix) netip.Addr {
	first := subnet.Masked().Addr()
	if backend == "udp" || backend == "vxlan" {
		return first
	}
	return first.Next()
}

// Run measures each address, and returns what it found in their order; only so much of it as
// there was time for if ctx ends. The error is that no echo can be sent from here, and is
// fs.ErrPermission if this process may not.
func Run(ctx context.Context, addresses []netip.Addr, o Options) ([]Result, error) {
	results := make([]Result, len(addresses))
	room := make(chan struct{}, parallel)
	var done int
	var mu sync.Mutex // of done, and of whoever is told
	var g sync.WaitGroup
	defer g.Wait()
	for i, a := range addresses {
		results[i].Address = a
	}
	for i, a := range addresses {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return results, nil
		}
		// By the caller's thread, whose network namespace it is.
		s, err := open(a)
		if err != nil {
			return results, err
		}
		g.Go(func() {
			s.measure(ctx, &results[i], o.MTU)
			s.close()
			<-room
			mu.Lock()
			defer mu.Unlock()
			if done++; o.Progress != nil {
				o.Progress(done)
			}
		})
	}
	g.Wait()
	return results, nil
}

// measure fills in the result.
func (s *socket) measure(ctx context.Context, r *Result, mtu int) {
	if r.Err = s.connect(r.Address); r.Err != nil {
		return
	}
	var sum time.Duration
	for r.Sent < echoes && (r.Received > 0 || r.Sent < unanswered) {
		if r.Sent > 0 && backoff.Sleep(ctx, interval) != nil {
			break
		}
		r.Sent++
		a, err := s.ask(smallPacket, mostWait)
		if err != nil {
			r.Err = err
		}
		if !a.came {
			continue
		}
		if r.Received++; r.Received == 1 || a.took < r.Least {
			r.Least = a.took
		}
		r.Most, sum = max(r.Most, a.took), sum+a.took
	}
	if r.Received == 0 {
		return
	}
	r.Err, r.Mean = nil, sum/time.Duration(r.Received)
	if mtu > smallPacket {
		wait := min(max(4*r.Most, leastWait), mostWait)
		r.MTU, r.BlackHole = largest(ctx, mtu, func(size int) answer { return s.askAgain(ctx, size, wait) })
	}
}

// askAgain asks until a size has come back, is known to be too large, or was lost often
// enough.
func (s *socket) askAgain(ctx context.Context, size int, wait time.Duration) (a answer) {
	for range sizeTries {
		if a, _ = s.ask(size, wait); a.came || a.limit > 0 || ctx.Err() != nil {
			break
		}
	}
	return a
}

// answer is what came of one packet. If nothing has, it is zero.
type answer struct {
	came  bool
	took  time.Duration
	limit int // somebody on the way says that no packet may have more bytes; zero: nobody
}

// largest finds the largest packet that passes, of most bytes at most: the small one does.
// A black hole is a size that is lost, and nobody says why.
func largest(ctx context.Context, most int, ask func(size int) answer) (mtu int, blackHole bool) {
	passes, fails := smallPacket, most+1
	for next := most; passes+1 < fails && ctx.Err() == nil; next = (passes + fails) / 2 {
		a := ask(next)
		if a.came {
			passes = next
			continue
		}
		fails, blackHole = next, true
		if a.limit > 0 {
			blackHole = false
			fails = min(fails, max(a.limit, passes)+1)
			// It may be that not even that passes.
			if fails-1 > passes && ask(fails-1).came {
				passes = fails - 1
			}
		}
	}
	return passes, blackHole
}
