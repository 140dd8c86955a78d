package datapath

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"flanneld/pkg/logonce"
)

// Reconciler brings a scope of the kernel to a wanted state. It is not safe for
// concurrent use.
type Reconciler struct {
	Kernel Kernel
	Scope  Scope
	Log    *slog.Logger
	// Keep is set while it is not known whether all is wanted that is: what packets are
	// sent by stays, though nobody wants it.
	Keep bool
	// Never is what no route of ours may cover, not even while Keep is set.
	Never []netip.Prefix
	// Step follows each portion of operations that the kernel has answered. An error
	// ends Apply, with the rest undone. Nil: nothing follows.
	Step func() error

	First Op             // the first operation of the last Apply that took any
	Kinds map[string]int // how many operations the last Apply took, by kind of object

	placed  []Route // of the last Apply
	shadows logonce.Line
}

// Apply makes the scope what want says and returns how many operations that
// took. Applied twice, the second time takes none. If some operations fail the
// others are carried out and the error is an *ApplyError. A link that cannot be
// made holds up nothing but what hangs on it, and until it is there no link is
// removed.
func (r *Reconciler) Apply(ctx context.Context, want State) (int, error) {
	r.Kinds = nil
	have, err := r.read(ctx)
	if err != nil {
		return 0, err
	}
	if text := shadows(want.Routes, have.Routes); r.shadows.Changed(text) && text != "" {
		r.Log.Warn("Somebody else's route leads a part of a subnet elsewhere; if it is not meant, delete it (ip route del)", "routes", text)
	}
	all := want.Routes
	var blocked []error
	want.Routes, blocked = split(all, have.Routes, r.placed)
	ops := r.diff(want, have)
	if len(ops) > 0 {
		r.First = ops[0]
	}
	done := leadingLinkOps(ops)
	var failed []error
	if done > 0 {
		// Whatever happens to a link changes what hangs on it in ways that only
		// the kernel knows: a MAC change flushes neighbours, up and down drop
		// routes. So links first, then look again.
		r.count(ops[:done])
		if failed, err = r.do(ctx, ops[:done]); err != nil {
			return done, err
		}
		if err := ctx.Err(); err != nil {
			return done, err
		}
		if have, err = r.read(ctx); err != nil {
			return done, err
		}
		want.Routes, blocked = split(all, have.Routes, r.placed)
		ops = withoutLinks(r.diff(want, have), have, failed)
	}
	r.placed = want.Routes
	if len(ops) > 0 {
		ops = onLinkAnew(ops, have.Routes)
	}
	spread(ops)
	done += len(ops)
	r.count(ops)
	more, err := r.do(ctx, ops)
	if err != nil {
		return done, err
	}
	failed = slices.Concat(failed, more, blocked)
	if failed == nil {
		return done, nil
	}
	return done, &ApplyError{Total: done + len(blocked), Failed: failed}
}

func (r *Reconciler) count(ops []Op) {
	if r.Kinds == nil && len(ops) > 0 {
		r.Kinds = make(map[string]int)
	}
	for _, op := range ops {
		r.Kinds[op.Object.kind()]++
	}
}

func (r *Reconciler) diff(want, have State) []Op {
	ops := Diff(want, have)
	if !r.Keep {
		return ops
	}
	return slices.DeleteFunc(ops, func(op Op) bool {
		switch o := op.Object.(type) {
		case Route:
			return op.Verb == Delete && o.Type == Unicast && !slices.ContainsFunc(r.Never, o.Dst.Overlaps)
		case Neigh, FDBEntry:
			return op.Verb == Delete
		}
		return false
	})
}

func (r *Reconciler) read(ctx context.Context) (State, error) {
	have, err := r.Kernel.Read(ctx, r.Scope)
	if err != nil {
		return State{}, fmt.Errorf("read network state: %w", err)
	}
	return have, nil
}

// ErrConnected: the route would take the place of one to a subnet that an
// interface of this host has an address in.
var ErrConnected = errors.New("an interface of this host has an address in that subnet")

// ErrForeign: the route would take the place of one that somebody else made.
var ErrForeign = errors.New("another route to that subnet is there, which is not of this daemon; delete it if it is to lead into the overlay (ip route del)")

// portion is how many operations follow one Step: about a system call's. Where there are
// 100,000 hosts, one takes seconds.
const portion = 512

// do carries operations out, in portions, and returns those that failed; or an error, if
// that is not known of each.
func (r *Reconciler) do(ctx context.Context, ops []Op) (failed []error, err error) {
	if r.Log.Enabled(ctx, slog.LevelDebug) {
		for _, op := range ops {
			r.Log.DebugContext(ctx, op.String())
		}
	}
	for some := range slices.Chunk(ops, portion) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := r.Kernel.Do(ctx, some)
		joined, ok := err.(interface{ Unwrap() []error })
		if err != nil && !ok {
			return nil, err
		}
		hung := false
		if ok {
			failed = append(failed, joined.Unwrap()...)
			hung = slices.ContainsFunc(joined.Unwrap(), func(err error) bool { return !errors.As(err, new(*OpError)) })
		}
		if hung || r.Step == nil {
			continue
		}
		if err := r.Step(); err != nil {
			return nil, err
		}
	}
	return failed, nil
}

// withoutLinks leaves out of ops what is in vain after links have failed: these links,
// which would fail again, and what needs a link that does not exist. It also leaves out
// deletions of links, since an old link may be all that works.
func withoutLinks(ops []Op, have State, errs []error) []Op {
	failed := make(map[string]bool)
	for _, err := range errs {
		if op, ok := errors.AsType[*OpError](err); ok {
			if l, ok := op.Op.Object.(Link); ok {
				failed[l.Name] = true
			}
		}
	}
	if len(failed) == 0 {
		return ops
	}
	missing := maps.Clone(failed)
	for _, l := range have.Links {
		delete(missing, l.Name)
	}
	return slices.DeleteFunc(ops, func(op Op) bool {
		if l, ok := op.Object.(Link); ok {
			return op.Verb == Delete || failed[l.Name]
		}
		return op.Verb == Set && missing[op.Object.On()]
	})
}

// leadingLinkOps counts the operations up to the last one that makes or sets a
// link. The deletions of links that are not wanted come last of all, and nothing
// is looked at again for them.
func leadingLinkOps(ops []Op) int {
	n := 0
	for i, op := range ops {
		if _, ok := op.Object.(Link); ok && op.Verb != Delete {
			n = i + 1
		}
	}
	return n
}

// ApplyError says that some operations failed; the others were carried out.
type ApplyError struct {
	Total  int
	Failed []error // *OpError, or what kept operations from being tried
}

// Error names the first failures only: with thousands of routes one cause
// makes thousands of errors.
func (e *ApplyError) Error() string {
	const most = 3
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d operations failed", len(e.Failed), e.Total)
	for i, err := range e.Failed {
		if i == most {
			fmt.Fprintf(&b, "; and %d more", len(e.Failed)-most)
			break
		}
		b.WriteString("; " + err.Error())
	}
	return b.String()
}

// Unwrap returns the failures.
func (e *ApplyError) Unwrap() []error { return e.Failed }

// OnlyRoutes reports whether err is an *ApplyError in which nothing but the
// setting of routes failed: their gateways cannot be reached, be it all of them,
// this host is in their subnet, or some other reason kept some of them from being
// made, and not all; everything else is in place.
func OnlyRoutes(err error, wanted int) bool {
	e, ok := errors.AsType[*ApplyError](err)
	if !ok {
		return false
	}
	tried := 0
	for _, failed := range e.Failed {
		op, ok := errors.AsType[*OpError](failed)
		if !ok {
			return false
		}
		if _, ok := op.Op.Object.(Route); !ok {
			return false
		}
		if !errors.Is(failed, ErrConnected) && !errors.Is(failed, ErrForeign) && !errors.Is(failed, syscall.ENETUNREACH) && !errors.Is(failed, syscall.EHOSTUNREACH) {
			tried++
		}
	}
	return tried == 0 || tried < wanted
}
