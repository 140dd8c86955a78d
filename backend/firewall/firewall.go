// Package firewall keeps the rules that an overlay network needs in this host's packet
// filter. It decides which senders get in, what is masqueraded and forwarded, and what
// passes Docker's rules. It does not know where leases come from or how packets are
// forwarded: it is told of the peers, and how their packets come in.
package firewall

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"flanneld/backend"
	"flanneld/pkg/backoff"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
	"flanneld/pkg/reconcile"
	"flanneld/pkg/wake"
)

// Policy says which rules this host is to have. The zero value lets in only what peers
// send, and makes no other rules.
type Policy struct {
	Filter     backend.Filter // who may send to this host
	Masquerade bool           // what leaves the overlay gets this host's address
	PlainPorts bool           // with Masquerade: the kernel picks ports in order, not at random
	Forward    bool           // what comes from and goes to the overlay is accepted
	Docker     bool           // the overlay's packets are let past Docker's rules
	NFTables   bool           // the overlay's own rules are in nftables even if there is iptables

	// Prefix is the etcd prefix of a second daemon on this host, whose names have a
	// suffix that comes of it; empty: the usual names.
	Prefix string

	Networks []netip.Prefix // this daemon's networks, in use now or before
	Previous []netip.Prefix // this host's subnets before; a zero one is ignored
	Resync   time.Duration  // the longest time between two passes; zero: a minute
}

// Firewall is this host's packet filter. Admit and SetUnderlay are for one goroutine,
// Run for another; Counters and InPlace may be called at any time.
type Firewall struct {
	policy   Policy
	log      *slog.Logger
	filter   *filter
	dropped  *dropped
	underlay string // the name of the interface; of the goroutine that calls Admit
	disabled bool

	begin   sync.Once // the first look at the counters
	wake    wake.Chan
	first   wake.Chan // is woken once inPlace is set; nil: nobody waits
	inPlace atomic.Bool
	report  func(err error, repairs int, took time.Duration) // of each pass; nil: nobody wants to know

	// Only Run's goroutine uses these.
	rules rules
	built []family // what the rules in place were made for
}

const (
	// leastGap is the shortest pause after a pass, however often others change rules.
	leastGap   = 250 * time.Millisecond
	firstRetry = 500 * time.Millisecond
)

// New returns the firewall of a host whose packets come in by the named interface.
func New(p Policy, underlay string, log *slog.Logger) *Firewall {
	return newFirewall(p, underlay, iptables.Exec, 0, log)
}

// newFirewall returns that of a network namespace; see nft.Kernel.
func newFirewall(p Policy, underlay string, run iptables.Runner, netns int, log *slog.Logger) *Firewall {
	n := namesFor(p.Prefix)
	kernel := func() nft.Kernel { return nft.Kernel{NetNS: netns} }
	return &Firewall{
		policy: p, log: log, underlay: underlay, wake: wake.New(),
		filter:  &filter{policy: p, id: n.filter(), kernel: kernel(), refusals: refusals{kernel: kernel(), log: log}, log: log},
		dropped: &dropped{id: n.filter(), kernel: kernel()},
		rules:   rules{policy: p, names: n, run: run, kernel: kernel(), log: log},
	}
}

// Disable says why this host can have no rules. It is for before Admit and Run, which
// then do nothing, and all that can be in place is.
func (f *Firewall) Disable(why error) {
	f.log.Warn("No firewall rules are made", "err", why)
	f.disabled = true
	f.inPlace.Store(true)
}

// SetUnderlay says that packets come in by another interface, or that this one is in
// other subnets.
func (f *Firewall) SetUnderlay(name string) {
	f.underlay = name
	f.wake.Wake()
}

// Admit lets in the peers of the planes, before packets are sent to them, and nobody
// else. Packets come in as in says, in the order of the planes. All other rules follow
// with the next pass of Run.
func (f *Firewall) Admit(_ context.Context, planes []backend.Plane, in []backend.Ingress) error {
	if f.disabled {
		return nil
	}
	f.begin.Do(f.dropped.look)
	overlays := make([]overlay, len(planes))
	for i, p := range planes {
		overlays[i] = overlay{family{p.Network, p.Subnet, in[i], f.underlay}, p.Peers, p.Partial}
	}
	due, err := f.filter.admit(overlays)
	if due { // once a pass can see them
		f.wake.Wake()
	}
	return err
}

// InPlace reports whether a pass has put every rule in place.
func (f *Firewall) InPlace() bool { return f.inPlace.Load() }

// Subscribe has c woken once that is so, unless the firewall is disabled. It is for
// before Run.
func (f *Firewall) Subscribe(c wake.Chan) { f.first = c }

// Report has f called after each pass, with how many of others' changes it undid. It is
// for before Run.
func (f *Firewall) Report(report func(err error, repairs int, took time.Duration)) { f.report = report }

// Counters returns how many packets were dropped since the first Admit.
func (f *Firewall) Counters() []backend.Counter { return f.dropped.counters() }

// Run makes passes until ctx is done: when there is another overlay, when somebody has
// changed rules and the kernel reports it, and after the policy's Resync.
func (f *Firewall) Run(ctx context.Context) error {
	if f.policy.Masquerade && !f.disabled {
		f.log.Info("Setting up masking rules")
	}
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() {
		if err := f.rules.kernel.Watch(ctx, f.wake); err != nil {
			f.log.Debug("Changes of others to the firewall are noticed at the next resync only", "err", err)
		}
	})
	loop := reconcile.Loop{
		Pass: f.pass, Done: f.passed, Wake: f.wake, Gap: leastGap, Resync: f.policy.Resync,
		Retry:   backoff.Backoff{Min: firstRetry, Max: max(f.policy.Resync, time.Second)},
		Subject: "Firewall", Repaired: "Some iptables rules are missing; deleting and recreating rules", Log: f.log,
	}
	return loop.Run(ctx)
}

// pass puts every rule in place.
func (f *Firewall) pass(ctx context.Context) reconcile.Result {
	now := f.filter.families()
	if now == nil || f.disabled {
		return reconcile.Result{Idle: true}
	}
	start := time.Now()
	same := slices.Equal(f.built, now)
	changes, err := f.rules.apply(ctx, now)
	if f.rules.tools.nftables {
		some, filterErr := f.filter.pass(!same)
		changes, err = append(changes, some...), errors.Join(err, filterErr)
	}
	for _, c := range changes {
		f.log.Debug("Changed a rule", "rule", c)
	}
	if err == nil {
		f.built = now
	}
	r := reconcile.Result{Err: err}
	if same && len(changes) > 0 { // otherwise nobody has removed what was not wanted before
		r.Repairs, r.First = len(changes), changes[0]
	}
	if f.report != nil {
		f.report(err, r.Repairs, time.Since(start))
	}
	return r
}

func (f *Firewall) passed(r reconcile.Result) error {
	if r.Err == nil && !f.inPlace.Swap(true) {
		f.first.Wake()
	}
	return nil
}
