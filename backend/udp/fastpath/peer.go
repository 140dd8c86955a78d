package fastpath

import "time"

const (
	// graceRx is how long packets of a peer are taken by the kernel after it has withdrawn:
	// those that were made so are on their way, and its daemon may have been restarted
	// while its programs went on.
	graceRx = time.Minute
	// askAgain is the time between two pings of a peer that answers.
	askAgain = 10 * time.Second
	// soon and retry are the shortest and the longest time after which a peer is tried again
	// that has not answered. Soon: it may not have heard yet that this host takes its packets.
	soon, retry = 5 * time.Second, time.Minute
	// patience is how often a ping may be lost.
	patience = 3
	// quiet is the time without an ask after which one who does not answer is silent.
	quiet = askAgain + 2*time.Second
)

// peer is a Peer and what is known of the way to it.
type peer struct {
	Peer
	written entry         // in the kernel
	rxUntil time.Time     // what comes from it is taken until then, whatever is known
	tx      bool          // packets to it go through the kernel
	silent  bool          // it neither answers nor asks: what comes from it may not get out of the GPE device
	asks    time.Time     // when it asked last
	asked   int           // pings since the last answer
	waits   time.Duration // before it is tried again
	next    time.Time     // when to ask
}

// newPeer may have sent to this host before the daemon was restarted.
func newPeer(p Peer, now time.Time) *peer {
	one := &peer{Peer: p, next: now}
	one.mayStillSend(now)
	return one
}

// mayStillSend has what comes from it be taken for a while.
func (p *peer) mayStillSend(now time.Time) {
	if p.Announces {
		p.rxUntil = now.Add(graceRx)
	}
}

// entry is what the programs are to know of it. Proven: packets come by the GPE device.
func (p *peer) entry(proven bool, now time.Time) entry {
	e := entry{Remote: p.Remote.As4()}
	if proven && p.Announces && !p.silent || now.Before(p.rxUntil) {
		e.Flags |= takeRx
	}
	if p.silent {
		e.Flags |= plainRx
	}
	if p.tx {
		e.Flags |= takeTx
	}
	return e
}

// follow takes what its lease says now.
func (p *peer) follow(want Peer, now time.Time) {
	switch {
	case p.Announces && !want.Announces:
		p.mayStillSend(now)
	case !p.takes() && want.takes():
		p.asked, p.waits, p.next, p.silent = 0, 0, now, false
	}
	p.Peer = want
	p.tx = p.tx && p.takes()
}

// ask reports whether it is to be asked now whether packets get to it, and counts that.
func (p *peer) ask(now time.Time) bool {
	if !p.takes() || now.Before(p.next) {
		return false
	}
	if p.asked >= patience {
		p.leave(now)
		p.waits = min(max(2*p.waits, soon), retry)
		p.next = now.Add(p.waits)
		if !p.silent && now.Sub(p.asks) > quiet {
			p.silent = true
			p.mayStillSend(now)
		}
		return false
	}
	p.asked++
	p.next = now.Add(time.Second)
	return true
}

// hasAsked notes that a ping of its own has come by the GPE device: what it sends does so, too.
func (p *peer) hasAsked(now time.Time) {
	p.asks, p.silent, p.rxUntil = now, false, now.Add(graceRx)
	if !p.tx && p.asked == 0 { // it may have been the firewall of this host
		p.waits, p.next = 0, now
	}
}

// unproven has packets to it go through the daemon until it has answered again: none may come
// by the GPE device.
func (p *peer) unproven(now time.Time) {
	p.leave(now)
	p.next = now
	p.mayStillSend(now)
}

// leave has packets to it go through the daemon until it has answered a ping later. It
// reports whether they did not.
func (p *peer) leave(now time.Time) bool {
	was := p.tx
	p.tx, p.asked, p.next = false, 0, now.Add(retry)
	return was
}

// answered reports whether packets go to it through the kernel from now on.
func (p *peer) answered(now time.Time) (first bool) {
	if !p.takes() || p.asked == 0 {
		return false // of an older ping
	}
	first = !p.tx
	p.tx, p.silent, p.asked, p.waits, p.next = true, false, 0, 0, now.Add(askAgain)
	return first
}
