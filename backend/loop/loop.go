// Package loop carries out the plans of a backend: the firewall first, then the
// kernel's datapath, then what the backend moves itself. It decides when to look
// again, follows the external interface, and logs which peers come and go. It does
// not know which backend it is, or what follows once this host forwards.
package loop

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/pkg/reconcile"
	"flanneld/pkg/wake"
)

// Loop keeps this host forwarding to exactly the peers that there are. The fields
// must not change while Run runs.
type Loop struct {
	// Planes returns what is wanted, and the faults of leases, which are logged once
	// each. It is called at the start of each pass.
	Planes   func() ([]backend.Plane, []backend.Fault)
	Wake     wake.Chan // is woken when the planes or the firewall may have changed, and by Kernel
	Kernel   Kernel
	Scope    datapath.Scope
	Firewall Firewall
	Resync   time.Duration    // the longest time between two passes; zero: a minute
	Alive    <-chan func()    // called between two passes, to show that the loop does not hang; nil: nobody asks
	Progress func()           // called while a pass gets on, for the same; nil: nobody asks
	Done     func(Pass) error // follows each pass; an error ends Run; nil: nothing follows
	Log      *slog.Logger

	Underlay Underlay // nil: the external interface is not followed
	// New makes the backend for another underlay while the one before still runs.
	New func(u backend.Underlay, before backend.Backend) (backend.Backend, error)
	// Moved is called between two backends. An error ends Run.
	Moved func(u backend.Underlay, next backend.Backend) error

	// Publish is called after a pass if Changed was called before, with the backend whose
	// claims peers are to be told. Nil: nobody tells them.
	Publish func(u backend.Underlay, be backend.Backend) error

	changed atomic.Bool
	running atomic.Pointer[backend.Forwarder] // nil: the backend moves no packets, or none runs
	faults  faults
}

// Kernel is this host's network.
type Kernel interface {
	datapath.Kernel

	// Watch wakes c whenever something changes that concerns the scope or the named
	// interface, until ctx is done.
	Watch(ctx context.Context, s datapath.Scope, underlay string, c chan<- struct{}) error
}

// Firewall lets in what peers send.
type Firewall interface {
	// Admit lets in what comes from the peers of all planes, of which each has one
	// ingress. It is called before anything is sent to them.
	Admit(ctx context.Context, planes []backend.Plane, ingress []backend.Ingress) error

	// InPlace reports whether all rules have been in place once.
	InPlace() bool
}

// Run forwards by the backend, which is made for the underlay, and then by those that
// New makes for others. It returns nil when ctx is done.
func (l *Loop) Run(ctx context.Context, be backend.Backend, u backend.Underlay) error {
	for {
		err := l.run(ctx, be, u)
		moved, ok := errors.AsType[movedError](err)
		if !ok {
			return err
		}
		l.logMove(u, moved.to)
		if err := l.Moved(moved.to, moved.next); err != nil {
			return err
		}
		be, u = moved.next, moved.to
	}
}

// run forwards by one backend. Its links, routes and addresses stay afterwards.
func (l *Loop) run(ctx context.Context, be backend.Backend, u backend.Underlay) error {
	g, ctx := errgroup.WithContext(ctx)
	r := runner{loop: l, backend: be, underlay: u, report: reporter{log: l.Log},
		reconciler: datapath.Reconciler{Kernel: l.Kernel, Log: l.Log}}
	r.reconciler.Step = r.step
	if f, ok := be.(backend.Forwarder); ok {
		r.forwarder = f
		l.running.Store(&f)
		defer l.running.Store(nil)
		g.Go(func() error { return f.Run(ctx) })
	}
	// The first pass makes thousands of changes, which are no news.
	watch := sync.OnceFunc(func() {
		g.Go(func() error { return l.Kernel.Watch(ctx, l.Scope, u.Name, l.Wake) })
	})
	passes := reconcile.Loop{
		Pass: r.pass, Wake: l.Wake, Resync: l.Resync, Alive: l.Alive, Log: l.Log,
		Subject: "Datapath", Repaired: "Others had changed the network state; it was put right",
	}
	passes.Done = func(reconcile.Result) error {
		watch()
		return r.done()
	}
	g.Go(func() error { return passes.Run(ctx) })
	return g.Wait()
}

// Changed says that the backend advertises something else now; it is for Params.Changed.
func (l *Loop) Changed() {
	l.changed.Store(true)
	l.Wake.Wake()
}

// CheckForwarder returns nil if what moves packets is alive, or nothing does.
func (l *Loop) CheckForwarder(ctx context.Context) error {
	f := l.running.Load()
	if f == nil {
		return nil
	}
	if err := (*f).Alive(ctx); err != nil && l.running.Load() == f { // or another follows
		return err
	}
	return nil
}

// Counters returns what the backend counts; nil if the kernel moves its packets.
func (l *Loop) Counters() []backend.Counter {
	f := l.running.Load()
	if f == nil {
		return nil
	}
	return (*f).Counters()
}

// InKernel returns the subnets of peers to which the kernel moves packets in the place of a
// backend that would otherwise do so itself.
func (l *Loop) InKernel() []netip.Prefix {
	f := l.running.Load()
	if f == nil {
		return nil
	}
	_, peers := (*f).InKernel()
	return peers
}

// runner makes passes with one backend.
type runner struct {
	loop       *Loop
	backend    backend.Backend
	forwarder  backend.Forwarder // nil: the kernel moves the packets
	underlay   backend.Underlay
	reconciler datapath.Reconciler
	report     reporter

	last    Pass
	wanted  []backend.Plane // of the pass that is made
	looked  time.Time       // since when changes are made for them, or they were last compared; zero: none was made
	planes  []backend.Plane // of the last pass, if that was a success
	peers   peers           // of the last pass
	skipped []backend.Skip  // likewise
	device  string          // likewise
	changed map[string]int  // likewise, by kind of object
}

// pass carries out the plan for the planes as they are now. One that takes long begins
// anew, and so with the firewall, when other planes are wanted.
func (r *runner) pass(ctx context.Context) reconcile.Result {
	start := time.Now()
	r.changed = nil
	changes, first, err := r.apply(ctx)
	for errors.Is(err, errOutdated) {
		r.planes = nil // what is changed from here on is not others' doing
		changes, first, err = r.apply(ctx)
	}
	planes := r.wanted
	r.peers = forwarded(planes, r.skipped, err)
	// A forwarder reaches no peer without its one route.
	inPlace := err == nil || r.forwarder == nil && datapath.OnlyRoutes(err, forwarded(planes, r.skipped, nil).most)
	repeated := r.planes != nil && slices.EqualFunc(r.planes, planes, same)
	if r.planes = nil; err == nil {
		r.planes = planes
	}
	r.last = Pass{Peers: r.peers.most, MTU: r.backend.MTU(), Err: err, Ready: inPlace, Took: time.Since(start),
		Changes: r.changed, Repaired: repeated && changes > 0, Skipped: r.skipped, Device: r.device}
	if r.forwarder != nil {
		r.last.Kernel, _ = r.forwarder.InKernel()
	}
	if !repeated {
		changes = 0 // they were necessary without others' doing
	}
	return reconcile.Result{Err: err, Repairs: changes, First: first, Attrs: []any{"peers", r.peers.most}}
}

// errOutdated ends the attempt to put planes in place that are not wanted any more.
var errOutdated = errors.New("other peers are wanted by now")

// stale is how long changes are made for planes before these are compared with what is
// wanted by then. It leaves most of the time to changes: to begin anew takes some seconds
// where there are 100,000 peers.
const stale = 5 * time.Second

// step shows that a pass gets on, and ends it if it is for planes of before.
func (r *runner) step() error {
	if r.loop.Progress != nil {
		r.loop.Progress()
	}
	if r.looked.IsZero() {
		r.looked = time.Now()
	}
	if len(r.loop.Wake) == 0 || time.Since(r.looked) < stale {
		return nil
	}
	now, _ := r.loop.Planes()
	if !slices.EqualFunc(now, r.wanted, same) {
		return errOutdated
	}
	r.looked = time.Now()
	return nil
}

// apply lets peers in before anything is sent to them. A forwarder learns of them once
// the whole datapath is in place.
func (r *runner) apply(ctx context.Context) (changes int, first datapath.Op, err error) {
	planes, faults := r.loop.Planes()
	r.loop.faults.log(faults, r.loop.Log)
	r.wanted, r.looked = planes, time.Time{}
	plan, err := r.backend.Plan(ctx, planes)
	if err != nil {
		return 0, first, err
	}
	r.report.skips(r.skipped, plan.Skipped)
	r.skipped, r.device = plan.Skipped, ""
	if len(plan.Ingress) > 0 {
		r.device = plan.Ingress[0].Device
	}
	r.reconciler.Keep, r.reconciler.Never = false, nil
	for _, p := range planes {
		r.reconciler.Keep, r.reconciler.Never = r.reconciler.Keep || p.Partial, p.Needed // of all families
	}
	admitted := r.loop.Firewall.Admit(ctx, planes, plan.Ingress)
	changes, first, err = plan.Apply(ctx, r.loop.Scope, &r.reconciler)
	r.changed = r.reconciler.Kinds
	if err == nil && r.forwarder != nil {
		err = r.forwarder.Forward(planes)
	}
	if admitted != nil {
		err = errors.Join(admitted, err)
	}
	return changes, first, err
}

// done follows a pass whose outcome is logged.
func (r *runner) done() error {
	if r.last.Ready {
		r.report.forwarding(r.peers.claims)
	}
	if err := r.follow(); err != nil {
		return err
	}
	if r.loop.changed.Swap(false) && r.loop.Publish != nil {
		if err := r.loop.Publish(r.underlay, r.backend); err != nil {
			return err
		}
	}
	r.last.Ready = r.last.Ready && r.loop.Firewall.InPlace()
	if r.loop.Done == nil {
		return nil
	}
	return r.loop.Done(r.last)
}

func same(a, b backend.Plane) bool {
	return a.Network == b.Network && a.Subnet == b.Subnet && a.Blackhole == b.Blackhole && a.Fenced == b.Fenced && a.Partial == b.Partial && slices.Equal(a.Peers, b.Peers)
}
