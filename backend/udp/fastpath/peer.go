package fastpath

import "time"

const (
	// graceRx is how long packets of a peer are taken by the kernel after it has withdrawn:
	// those that were made so are on their way, and its daemon may have been restarted
	// while its programs went on.
	graceRx = time.Minute
	// askAgain is the time between two pings of a peer that answers.
	askAgain = 10 * time.Second
	// retry is the time after which a peer is tried again that has not answered.
	retry = time.Minute
	// patience is how often a ping may be lost.
	patience = 3
)

// peer is a Peer and what is known of the way to it.
type peer struct {
	Peer
	written entry     // in the kernel
	rxUntil time.Time // what comes from it is taken until then, though it does not announce
	tx      bool      // packets to it go through the kernel
	asked   int       // pings since the last answer
	next    time.Time // when to ask
}

func (p *peer) entry() entry {
	e := entry{Remote: p.Remote.As4()}
	if p.Announces || time.Now().Before(p.rxUntil) {
		e.Flags |= takeRx
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
		p.rxUntil = now.Add(graceRx)
	case !p.takes() && want.takes():
		p.asked, p.next = 0, now
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
		return false
	}
	p.asked++
	p.next = now.Add(time.Second)
	return true
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
	p.tx, p.asked, p.next = true, 0, now.Add(askAgain)
	return first
}
