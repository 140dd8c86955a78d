package fastpath

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	tick = time.Second
	// sooner is the time to the next look after one that found something odd.
	sooner = 250 * time.Millisecond
	// mostPings is how many peers are asked in a second at most. Where there are thousands,
	// each is asked less often.
	mostPings = 100
	// proofTime is how long the ping that is to come by the device may take.
	proofTime = 3 * time.Second
)

// Run proves the device and the ways to peers, and watches both, until ctx is done.
func (p *Path) Run(ctx context.Context) {
	w := watcher{path: p}
	defer w.close()
	if conn, err := listenRouters(p.Local); err == nil {
		w.routers = conn
		w.reads.Go(func() { p.hearRouters(conn) })
	} else {
		p.Log.Debug("A path whose MTU shrinks is noticed by pings only", "err", err)
	}
	for {
		wait := w.look(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// watcher is the state of Run.
type watcher struct {
	path    *Path
	pinger  *pinger
	routers *net.IPConn // nil: they are not heard
	reads   sync.WaitGroup
	last    tally
	silent  int // looks in a row that saw packets go to the device, and none come

	proofFrom  tally     // what was counted when the proof began
	proofUntil time.Time // zero: none is made
	proofNext  time.Time
}

func (w *watcher) close() {
	if w.pinger != nil {
		_ = w.pinger.conn.Close()
	}
	if w.routers != nil {
		_ = w.routers.Close()
	}
	w.reads.Wait()
}

// look does what is due, and returns when to look again.
func (w *watcher) look(now time.Time) time.Duration {
	p := w.path
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := p.programs.count()
	if err != nil || !p.there {
		return tick
	}
	w.listen()
	wait := time.Duration(tick)
	switch {
	case p.proven:
		if w.goesMissing(n) {
			p.closedPort("UDP port 4790 is closed by this host's firewall, or packets of the kernel's tunnel are lost in it")
			w.proofNext = now.Add(retry)
		} else if w.silent > 0 {
			wait = sooner
		}
	case p.wrong == "" && p.refused == "" && w.pinger != nil && len(p.peers) > 0: // or nobody can answer
		wait = w.tryProof(n, now)
	}
	w.last = n
	if p.proven { // or no answer would come by the device
		w.askPeers(now)
	}
	p.writeAll(now)
	return wait
}

// listen opens the socket for pings, of the address that this host has now.
func (w *watcher) listen() {
	p := w.path
	own := p.state.Subnet.Masked().Addr()
	if w.pinger != nil && w.pinger.own == own {
		return
	}
	if w.pinger != nil {
		_ = w.pinger.conn.Close()
		w.pinger = nil
	}
	pinger, err := newPinger(own, p.id)
	if err != nil {
		p.Log.Debug("No pings yet", "err", err)
		return
	}
	w.pinger = pinger
	w.reads.Go(func() { pinger.receive(p.heard) })
}

// goesMissing reports whether packets that rx sends to the device do not come out of it,
// twice in a row.
func (w *watcher) goesMissing(n tally) bool {
	switch {
	case n.GPE != w.last.GPE:
		w.silent = 0
	case n.ToGPE != w.last.ToGPE:
		w.silent++
	}
	return w.silent >= 2
}

// tryProof has the answers to some pings come by the device, though nothing else does. Who
// is pinged need know nothing of all this.
func (w *watcher) tryProof(n tally, now time.Time) time.Duration {
	p := w.path
	end := func() {
		w.proofUntil, p.settings.ProbeIn = time.Time{}, [2]byte{}
		_ = p.programs.configure(p.settings)
	}
	switch {
	case w.proofUntil.IsZero() && now.Before(w.proofNext):
		return tick
	case w.proofUntil.IsZero():
		w.proofFrom, w.proofUntil = n, now.Add(proofTime)
		p.settings.ProbeIn = inPacket(p.id)
		_ = p.programs.configure(p.settings)
	case n.GPE > w.proofFrom.GPE:
		end()
		w.silent = 0
		p.Log.Info("Packets from peers that announce the same go through the kernel from now on", "device", DeviceName)
		p.change(func() { p.proven, p.closed = true, "" })
		return tick
	case now.After(w.proofUntil):
		end()
		w.proofNext = now.Add(proofTime)
		if n.ToGPE > w.proofFrom.ToGPE {
			w.proofNext = now.Add(retry)
			p.closedPort("UDP port 4790 is closed by this host's firewall")
		}
		return tick
	}
	const some = 3
	i := 0
	for first := range p.peers {
		if i++; i > some {
			break
		}
		w.pinger.prove(first)
	}
	return sooner
}

// askPeers asks those that are due, and first those that have not answered yet: they are to be
// left soon, however many others there are.
func (w *watcher) askPeers(now time.Time) {
	if w.pinger == nil {
		return
	}
	p, sent := w.path, 0
	for _, again := range []bool{true, false} {
		for first, one := range p.peers {
			if (one.asked > 0) != again || sent == mostPings {
				continue
			}
			was := one.tx
			if one.ask(now) {
				sent++
				w.pinger.ask(first, p.state.MTU)
			}
			if was && !one.tx {
				p.Log.Warn("A peer does not answer pings that go through the kernel; packets to it go through the daemon", "subnet", one.Subnet, "peer", one.Remote)
			}
		}
	}
}

// closedPort says that packets do not come by the device, and warns of it once.
func (p *Path) closedPort(why string) {
	if p.closed != why {
		p.Log.Warn(why+": packets from peers go through the daemon, not through the kernel", "hint",
			"let UDP port 4790 in from the peers, or give --udp-offload=kernel")
	}
	p.change(func() { p.proven, p.closed = false, why })
}

// heard is told who has answered a ping, or asks. One that is shorter than packets may be proves
// nothing.
func (p *Path) heard(from netip.Addr, length int, asks bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.peers[from]
	if one == nil || length != p.state.MTU || !p.proven {
		return
	}
	now := time.Now()
	if asks {
		one.hasAsked(now)
	} else if one.answered(now) {
		p.Log.Info("Packets to a peer go through the kernel", "subnet", one.Subnet, "peer", one.Remote)
	}
	if err := p.write(one, now); err != nil {
		p.Log.Debug("The kernel does not take a peer", "subnet", one.Subnet, "err", err)
	}
}

// hearRouters leaves the kernel path to peers behind a path with a smaller MTU, until the
// socket is closed: the programs do not look at the MTU of a route. The engine asks the
// kernel, which has heard of it, too.
func (p *Path) hearRouters(conn *net.IPConn) {
	b := make([]byte, 1500)
	for {
		n, router, err := conn.ReadFromIP(b)
		if err != nil {
			return
		}
		if about, mtu, ok := tooLarge(b[:n]); ok && about.from == netip.AddrPortFrom(p.Local, p.Port) && about.to.Port() == p.Port {
			p.narrow(about.to.Addr(), mtu, router.IP.String())
		}
	}
}

// narrow is told that a router passes on no more than so many bytes to a host.
func (p *Path) narrow(remote netip.Addr, mtu int, router string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, one := range p.peers {
		if one.Remote != remote || !one.leave(now) {
			continue
		}
		p.Log.Info("A router on the way to a peer has a smaller MTU; packets to it go through the daemon", "subnet", one.Subnet, "peer", one.Remote,
			"router", router, "mtu", mtu)
	}
	p.writeAll(now)
}
