package status

import (
	"fmt"
	"sync"
	"time"

	"flanneld/subnet"
)

// Board is what the parts of the daemon have said of this host. It is safe for
// concurrent use.
type Board struct {
	notify func(text string)
	clock  subnet.Clock

	mu       sync.Mutex
	now      Status // without its Lease and its Troubles, which follow from the rest
	failure  string // why the daemon ends; empty: it does not
	unusable string // why etcd's configuration cannot be used; empty: it can, or nothing is known yet
	standing subnet.Standing
	since    time.Time // of the standing's state
	pass     pass
	trouble  string // of the host
}

// pass is how the last pass ended; zero: there was none since the lease is safe.
type pass struct {
	done bool
	part Part   // that is in trouble; empty: none
	what string // as a sentence
}

// NewBoard returns a Board that calls notify with each new text, in order. The function
// must neither block nor call the Board.
func NewBoard(notify func(text string)) *Board {
	return &Board{notify: notify, clock: subnet.HostClock}
}

// Fail says why the daemon ends. Nothing that is said later changes the text.
func (b *Board) Fail(err error) {
	b.change(func() { b.failure = err.Error() })
}

// SetUnusable says why etcd's configuration cannot be used; empty: it can, or nothing is
// known yet. Until there is a backend, the daemon waits for another.
func (b *Board) SetUnusable(reason string) {
	b.change(func() { b.unusable = reason })
}

// SetBackend sets the backend's type, once there is a configuration to go on.
func (b *Board) SetBackend(typ string) {
	b.change(func() { b.now.Backend = typ })
}

// SetLease sets how this host stands with its lease. While that is not safe the host is
// not ready, and becomes so by a pass that is Complete.
func (b *Board) SetLease(s subnet.Standing) {
	b.change(func() {
		if s.State != b.standing.State {
			_, b.since = b.clock()
		}
		if b.standing = s; !s.State.Safe() {
			b.now.Ready, b.pass = false, pass{}
		}
	})
}

// Incomplete says that a pass has not put everything in place: the datapath, if there is
// an error, else the firewall. A host that is ready stays so.
func (b *Board) Incomplete(err error) {
	if err != nil {
		b.passed(pass{true, Datapath, "the datapath is not as it should be: " + err.Error()})
		return
	}
	b.passed(pass{true, Firewall, "the firewall's rules are not in place yet"})
}

// Unwritten says that a pass could not write the subnet file. A host that is ready stays
// so: forwarding needs no file.
func (b *Board) Unwritten(err error) { b.passed(pass{true, SubnetFile, err.Error()}) }

// passed leaves what was said of a lease that is not safe, which says more.
func (b *Board) passed(p pass) {
	b.change(func() {
		if b.standing.State.Safe() {
			b.pass = p
		}
	})
}

// Complete says that a pass has put everything in place for that lease and those peers,
// and that Docker was told. It changes nothing if the host has another lease since the
// pass began, or one that is not safe.
func (b *Board) Complete(lease subnet.Key, peers int) {
	b.change(func() {
		if b.standing.State.Safe() && b.standing.Lease.Key() == lease {
			b.now.Ready, b.now.Peers, b.pass = true, peers, pass{done: true}
		}
	})
}

// SetTrouble says what is wrong with what is not the daemon's; empty: nothing.
func (b *Board) SetTrouble(what string) {
	b.change(func() { b.trouble = what })
}

// SetEtcdAway says whether etcd has not answered since the start.
func (b *Board) SetEtcdAway(away bool) {
	b.change(func() { b.now.EtcdAway = away })
}

// SetLost sets how many hosts are kept though etcd has lost their leases.
func (b *Board) SetLost(hosts int) {
	b.change(func() { b.now.Lost = hosts })
}

// Status returns how the host is now.
func (b *Board) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.now
	if l := b.standing; l.State != 0 {
		s.Lease = Lease{State: l.State.String(), Since: b.since, Subnet: l.Lease.V4.Subnet, SubnetV6: l.Lease.V6.Subnet, Reason: l.Reason}
		if l.Deadline != 0 {
			up, wall := b.clock()
			s.Lease.Expires = wall.Add(l.Deadline - up).Round(time.Second)
		}
	}
	for _, t := range []Trouble{{Config, b.unusable}, {b.pass.part, b.pass.what}, {Host, b.trouble}} {
		if t.What != "" {
			s.Troubles = append(s.Troubles, t)
		}
	}
	return s
}

// change calls f, and notifies if the text is another one now.
func (b *Board) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	if text := b.describe(); text != b.now.Text {
		b.now.Text = text
		b.notify(text)
	}
}

// describe returns the text for what there is now.
func (b *Board) describe() string {
	switch s := b.standing; {
	case b.failure != "":
		return "failed: " + b.failure
	case s.State == 0 && b.now.Backend == "":
		return because("waiting for the network configuration", b.unusable)
	case s.State == subnet.Acquiring:
		return because("acquiring a subnet", s.Reason)
	case s.State == subnet.Expired:
		return because("the lease on "+s.Lease.Key().String()+" has expired", s.Reason)
	case s.State == subnet.Conflict:
		return because("lost the lease on "+s.Lease.Key().String(), s.Reason)
	case !b.pass.done:
		return b.now.Text // a pass follows at once
	case b.pass.part == SubnetFile:
		return b.pass.what
	}
	text := b.standing.Lease.Key().String() + " " + b.now.Backend
	if b.pass.part != "" {
		return text + "; " + b.pass.what
	}
	text += fmt.Sprintf(", %d peers", b.now.Peers)
	if b.standing.State == subnet.AtRisk {
		text += "; the lease is at risk: " + b.standing.Reason
	}
	if b.now.EtcdAway {
		text += "; etcd is away, and this is what was known before"
	}
	if b.now.Lost > 0 {
		text += fmt.Sprintf("; etcd has lost the leases of %d hosts, which are kept", b.now.Lost)
	}
	if b.unusable != "" {
		text += "; the network configuration cannot be used: " + b.unusable
	}
	if b.trouble != "" {
		text += "; " + b.trouble
	}
	return text
}

func because(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + ": " + reason
}
