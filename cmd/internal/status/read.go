package status

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"flanneld/backend"
	"flanneld/subnet"
)

// MostPeers is the greatest length of a list of peers: a megabyte or two as JSON.
const MostPeers = 10000

// Status returns how the host is now, without the list of peers.
func (b *Board) Status() Status { return b.StatusWithPeers(0) }

// StatusWithPeers returns how the host is now, with the list of at most so many peers.
func (b *Board) StatusWithPeers(most int) Status {
	b.mu.Lock()
	api, read := b.api, b.inKernel
	b.mu.Unlock()
	// Without our lock: whoever has the others' may log, which takes ours.
	var of string
	if api != nil {
		of = api()
	}
	inKernel := make(map[netip.Prefix]bool)
	if read != nil {
		for _, s := range read() {
			inKernel[s] = true
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, now := b.clock()
	s := b.now
	s.Time = now.Round(0)
	s.Lease = b.lease()
	s.Etcd.API = of
	s.NotReady = b.notReady()
	s.Ready = s.NotReady == nil
	kept := s.Peers.Kept
	s.Peers = b.peers.counts(inKernel)
	s.Peers.Kept = kept
	if most > 0 {
		s.Peers.List, s.Peers.Omitted = b.peers.list(min(most, MostPeers), inKernel)
	}
	s.Events, s.Errors = b.journal.events.list(), b.journal.errors.list()
	s.Traffic = slices.Clone(b.journal.traffic)
	s.Counters = append(b.tally.list(), b.journal.counters...)
	return s
}

// EventsAfter returns the events after one that are remembered, and what is closed by the next.
func (b *Board) EventsAfter(seq uint64) ([]Event, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.journal.after(seq)
}

func (b *Board) lease() (l Lease) {
	s := b.standing
	if s.State == 0 {
		return Lease{}
	}
	l = Lease{State: s.State.String(), Since: b.now.Lease.Since, Subnet: s.Lease.V4.Subnet, SubnetV6: s.Lease.V6.Subnet,
		PublicIP: s.Lease.V4.PublicIP, PublicIPv6: s.Lease.V6.PublicIP, Node: s.Lease.Node, Reason: s.Reason}
	up, wall := b.clock()
	l.Reserved = s.Lease.Key() != (subnet.Key{}) && s.Lease.Reserved()
	if s.Deadline != 0 {
		l.Expires = wall.Add(s.Deadline - up).Round(time.Second)
	}
	if s.Sent != 0 {
		l.Renewed = wall.Add(s.Sent - up).Round(time.Second)
	}
	return l
}

// checks are what readiness is made of.
func (b *Board) checks() []check {
	lease := b.lease()
	held := check{part: "lease", ok: b.standing.State.Safe(), what: because(lease.State, lease.Reason)}
	if b.standing.State == 0 {
		held.what = "none is asked for yet"
	}
	all := []check{held}
	for _, p := range []struct {
		part string
		Condition
	}{{"datapath", b.now.Datapath}, {"firewall", b.now.Firewall}, {"subnetFile", b.now.SubnetFile}} {
		c := check{p.part, p.InStep(), because(string(p.State), p.Reason)}
		if c.ok && held.ok && !b.passed {
			c = check{p.part, false, "not looked at since this host has the lease"}
		}
		all = append(all, c)
	}
	if b.now.Failure != "" {
		all = append(all, check{"daemon", false, "it ends: " + clip(b.now.Failure)})
	}
	return all
}

// check is one part of readiness.
type check struct {
	part string
	ok   bool
	what string
}

func (b *Board) notReady() (why []string) {
	for _, c := range b.checks() {
		if !c.ok {
			why = append(why, c.part+": "+c.what)
		}
	}
	return why
}

// Checks returns the parts of readiness as lines of text, as Kubernetes' servers have them.
func (b *Board) Checks() (lines []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.checks() {
		mark := "[+]"
		if !c.ok {
			mark = "[-]"
		}
		lines = append(lines, mark+c.part+" "+c.what)
	}
	return lines
}

// describe returns the text for what there is now.
func (b *Board) describe() string {
	now, key := &b.now, b.standing.Lease.Key().String()
	unusable := now.Config.Reason
	switch s := b.standing; {
	case now.Failure != "":
		return "failed: " + now.Failure
	case s.State == 0 && now.Backend.Type == "":
		return because("waiting for the network configuration", unusable)
	case s.State == subnet.Acquiring:
		return because("acquiring a subnet", s.Reason)
	case s.State == subnet.Expired:
		return because("the lease on "+key+" has expired", s.Reason)
	case s.State == subnet.Conflict:
		return because("lost the lease on "+key, s.Reason)
	case !b.passed:
		return now.Text // a pass follows at once
	case now.SubnetFile.State == Failing:
		return now.SubnetFile.Reason
	}
	text := key + " " + now.Backend.Type
	switch {
	case now.Datapath.State == Failing:
		return text + "; the datapath is not as it should be: " + now.Datapath.Reason
	case now.Firewall.State == Waiting:
		return text + "; " + now.Firewall.Reason
	case now.Firewall.State == Failing:
		return text + "; the firewall is not as it should be: " + now.Firewall.Reason
	}
	text += fmt.Sprintf(", %d peers", b.peers.hosts)
	if now.Backend.Kernel != "" {
		text += ", kernel=" + now.Backend.Kernel
	}
	if b.standing.State == subnet.AtRisk {
		text += "; the lease is at risk: " + b.standing.Reason
	}
	if now.Etcd.FromCache {
		text += "; etcd is away, and this is what was known before"
	}
	if now.Peers.Kept > 0 {
		text += fmt.Sprintf("; etcd has lost the leases of %d hosts, which are kept", now.Peers.Kept)
	}
	if unusable != "" {
		text += "; the network configuration cannot be used: " + unusable
	}
	for _, c := range []Condition{now.DockerBridge, now.Forwarding} {
		if c.State == Failing {
			text += "; " + c.Reason
		}
	}
	return text
}

func because(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + ": " + reason
}

// Histograms returns how long what is done again and again has taken.
func (b *Board) Histograms() []Histogram {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tally.histograms()
}

// BackendCounters reads the backend's counters, which may ask the kernel.
func (b *Board) BackendCounters() []backend.Counter {
	b.mu.Lock()
	read := b.read
	b.mu.Unlock()
	if read == nil {
		return nil
	}
	return read()
}
