package status

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"flanneld/backend"
	"flanneld/backend/loop"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// Board is what the parts of the daemon have said of this host. It is safe for
// concurrent use.
type Board struct {
	notify func(text string)
	clock  subnet.Clock

	mu       sync.Mutex
	now      Status // without what follows from the rest: see fill
	standing subnet.Standing
	passed   bool  // a pass has ended since the lease is safe
	partly   error // why the last pass has not reached all peers
	peers    book
	journal  journal
	tally    tally
	read     func() []backend.Counter // reads the backend's counters; nil: there are none
	api      func() string            // which of etcd's APIs is used; nil: nobody knows
	inKernel func() []netip.Prefix    // see SetInKernel; nil: there are none
}

// NewBoard returns a Board that calls notify with each new text, in order. The function
// must neither block nor call the Board.
func NewBoard(notify func(text string)) *Board {
	b := &Board{notify: notify, clock: subnet.HostClock, tally: newTally(), peers: newBook()}
	b.now = Status{Schema: Schema, PID: os.Getpid()}
	for _, c := range []*Condition{&b.now.Etcd.Condition, &b.now.Config, &b.now.Datapath, &b.now.Firewall, &b.now.SubnetFile,
		&b.now.DockerBridge, &b.now.Forwarding} {
		c.State = Waiting
	}
	_, b.now.Started = b.clock()
	return b
}

// Describe says which daemon this is.
func (b *Board) Describe(version, prefix string) {
	b.change(func(time.Time) { b.now.Version, b.now.Prefix = version, prefix })
}

// Fail says why the daemon ends. Nothing that is said later changes the text.
func (b *Board) Fail(err error) {
	b.change(func(time.Time) { b.now.Failure = err.Error() })
}

// SetUnusable says why etcd's configuration cannot be used; empty: it can, or nothing is
// known yet. Until there is a backend, the daemon waits for another.
func (b *Board) SetUnusable(reason string) {
	b.change(func(now time.Time) {
		state := Waiting
		switch {
		case b.now.Backend.Type != "" && reason != "":
			state = Degraded // the daemon goes on with the one that it has
		case b.now.Backend.Type != "":
			state = OK
		}
		b.set(now, "config", &b.now.Config, state, reason)
	})
}

// SetBackend sets the backend's type and the network, once there is a configuration to go on.
func (b *Board) SetBackend(cfg config.Config) {
	b.change(func(now time.Time) {
		b.now.Backend.Type, b.peers.backend = cfg.Type, cfg.Type
		b.now.Network = Network{Network: cfg.V4.Network, SubnetLen: cfg.V4.SubnetLen, NetworkV6: cfg.V6.Network, Subnets: cfg.V4.Subnets()}
		b.set(now, "config", &b.now.Config, OK, "")
	})
}

// SetPath says what carries packets: the kernel, user space, or none.
func (b *Board) SetPath(path string) {
	b.change(func(time.Time) { b.now.Backend.Path, b.peers.path = path, path })
}

// SetUnderlay sets the external interface.
func (b *Board) SetUnderlay(u backend.Underlay) {
	b.change(func(now time.Time) {
		since := b.now.Underlay.Since
		if fresh := (Underlay{u.Name, u.MTU, u.V4, u.V6, since}); fresh != b.now.Underlay {
			b.now.Underlay = fresh
			b.now.Underlay.Since = now
			b.event(now, "info", "underlay", fmt.Sprintf("the external interface is %s with %s", u.Name, u.V4))
		}
	})
}

// SetLease sets how this host stands with its lease. While that is not safe the host is
// not ready, and becomes so by a pass that is complete.
func (b *Board) SetLease(s subnet.Standing) {
	b.change(func(now time.Time) {
		if was := b.standing; s.State != was.State || s.Lease.Key() != was.Lease.Key() {
			if s.State != was.State {
				b.now.Lease.Since = now
				b.tally.count("lease_state_changes", "state", s.State.String())
				if s.State == subnet.Conflict {
					b.tally.count("lease_conflicts")
				}
			}
			level, text := "info", "the lease is "+s.State.String()
			if !s.State.Safe() && s.State != subnet.Acquiring || s.State == subnet.AtRisk {
				level = "warning"
			}
			if key := s.Lease.Key(); key != (subnet.Key{}) {
				text += ": " + key.String()
			}
			b.event(now, level, "lease", because(text, s.Reason))
		}
		if b.standing = s; !s.State.Safe() {
			b.passed = false
		}
	})
}

// Passed follows each pass, before what it means for Docker is said.
func (b *Board) Passed(p loop.Pass) {
	b.change(func(now time.Time) {
		b.now.Backend.Kernel = p.Kernel
		if b.now.Backend.MTU = p.MTU; p.Device != "" {
			b.now.Backend.Device = p.Device
		}
		b.partly = p.Err
		b.peers.passed(p, now)
		b.tally.pass("datapath", p.Err, p.Took)
		repairs := 0
		for kind, n := range p.Changes {
			b.tally.add("datapath_changes", n, "kind", kind)
			if p.Repaired {
				b.tally.add("datapath_repairs", n, "kind", kind)
				repairs += n
			}
		}
		b.repaired(now, "datapath", repairs)
	})
}

// Incomplete says that a pass has not put everything in place: the datapath, if there is
// an error, else the firewall.
func (b *Board) Incomplete(err error) {
	b.change(func(now time.Time) {
		b.passed = b.standing.State.Safe()
		if err != nil {
			b.set(now, "datapath", &b.now.Datapath, Failing, err.Error())
			return
		}
		b.set(now, "datapath", &b.now.Datapath, OK, "")
		if b.now.Firewall.State != Failing {
			b.set(now, "firewall", &b.now.Firewall, Waiting, "the firewall's rules are not in place yet")
		}
	})
}

// Unwritten says that a pass could not write the subnet file, but has put all else in
// place. Forwarding needs no file.
func (b *Board) Unwritten(err error) {
	b.change(func(now time.Time) {
		b.passed = b.standing.State.Safe()
		b.inStep(now)
		b.set(now, "subnetFile", &b.now.SubnetFile, Failing, err.Error())
	})
}

// Complete says that a pass has put everything in place for that lease and those peers,
// and that Docker was told. It changes nothing of the lease if the host has another since
// the pass began, or one that is not safe.
func (b *Board) Complete(lease subnet.Key, peers int) {
	b.change(func(now time.Time) {
		b.inStep(now)
		if b.standing.State.Safe() && b.standing.Lease.Key() == lease {
			b.set(now, "subnetFile", &b.now.SubnetFile, OK, "")
			b.passed, b.peers.hosts = true, peers
		}
	})
}

// inStep follows a pass that has put all but perhaps some peers in place.
func (b *Board) inStep(now time.Time) {
	if b.partly != nil {
		b.set(now, "datapath", &b.now.Datapath, Degraded, b.partly.Error())
	} else {
		b.set(now, "datapath", &b.now.Datapath, OK, "")
	}
	if b.now.Firewall.State == Waiting {
		b.set(now, "firewall", &b.now.Firewall, OK, "")
	}
}

// SetFirewall follows each pass of the firewall, which made so many repairs.
func (b *Board) SetFirewall(err error, repairs int, took time.Duration) {
	b.change(func(now time.Time) {
		b.tally.pass("firewall", err, took)
		b.tally.add("firewall_repairs", repairs)
		b.repaired(now, "firewall", repairs)
		if err != nil {
			b.set(now, "firewall", &b.now.Firewall, Failing, err.Error())
		} else {
			b.set(now, "firewall", &b.now.Firewall, OK, "")
		}
	})
}

// SetTrouble says what is wrong with a part that is not the daemon's; empty: nothing.
func (b *Board) SetTrouble(p Part, what string) {
	b.change(func(now time.Time) {
		c := &b.now.DockerBridge
		if p == Forwarding {
			c = &b.now.Forwarding
		}
		if what == "" {
			b.set(now, string(p), c, OK, "")
		} else {
			b.set(now, string(p), c, Failing, what)
		}
	})
}

// SetEtcdAway says whether etcd has not answered since the start.
func (b *Board) SetEtcdAway(away bool) {
	b.change(func(time.Time) { b.now.Etcd.FromCache = away })
}

// Want says which peers a pass is for, what is wrong with leases that are none, how many
// leases are known, and of how many of them etcd has lost.
func (b *Board) Want(planes []backend.Plane, faults []backend.Fault, leases, kept int) {
	b.change(func(now time.Time) {
		for _, e := range changesOf(b.peers.want(planes, faults, now)) {
			e.Time = now
			b.journal.happened(e)
		}
		b.now.Network.Leases, b.now.Peers.Kept = leases, kept
	})
}

// SetCounters sets what reads the backend's counters, SetAPI what knows which of etcd's APIs
// is used, and SetInKernel what knows to which peers packets go through the kernel instead of
// user space. No such function may call the Board.
func (b *Board) SetCounters(read func() []backend.Counter) {
	b.change(func(time.Time) { b.read = read })
}

// SetAPI is explained at SetCounters.
func (b *Board) SetAPI(api func() string) { b.change(func(time.Time) { b.api = api }) }

// SetInKernel is explained at SetCounters.
func (b *Board) SetInKernel(read func() []netip.Prefix) {
	b.change(func(time.Time) { b.inKernel = read })
}

// set changes a condition.
func (b *Board) set(now time.Time, part string, c *Condition, s State, reason string) {
	reason = clip(reason)
	if c.State != s {
		level := "info"
		if s == Failing || s == Degraded {
			level = "warning"
		}
		b.event(now, level, part, because("is "+string(s), reason))
		c.State, c.Since = s, now
	}
	c.Reason = reason
}

// repaired says that others had changed what is ours.
func (b *Board) repaired(now time.Time, part string, repairs int) {
	if repairs > 0 {
		b.event(now, "info", part, fmt.Sprintf("others had changed it; it was put right: %d changes", repairs))
	}
}

func (b *Board) event(now time.Time, level, part, text string) {
	b.journal.happened(Event{Time: now, Level: level, Part: part, Text: clip(text), Count: 1})
}

// change calls f, and notifies if the text is another one now.
func (b *Board) change(f func(now time.Time)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, now := b.clock()
	f(now.Round(0))
	if text := b.describe(); text != b.now.Text {
		b.now.Text = text
		b.notify(text)
	}
}
