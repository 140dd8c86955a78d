package datapath

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Reconciler brings a scope of the kernel to a wanted state. It is not safe for
// concurrent use.
type Reconciler struct {
	Kernel Kernel
	Scope  Scope
	Log    *slog.Logger
}

// Apply makes the scope what want says and returns how many operations that
// took. Applied twice, the second time takes none. If some operations fail the
// others are carried out and the error is an *ApplyError.
func (r *Reconciler) Apply(ctx context.Context, want State) (int, error) {
	ops, blocked, err := r.difference(ctx, want)
	if err != nil {
		return 0, err
	}
	done := leadingLinkOps(ops)
	if done > 0 {
		// Whatever happens to a link changes what hangs on it in ways that only
		// the kernel knows: a MAC change flushes neighbours, up and down drop
		// routes. So links first, then look again.
		if err := r.do(ctx, ops[:done], nil); err != nil {
			return done, err
		}
		if ops, blocked, err = r.difference(ctx, want); err != nil {
			return done, err
		}
	}
	return done + len(ops), r.do(ctx, ops, blocked)
}

func (r *Reconciler) difference(ctx context.Context, want State) ([]Op, []Route, error) {
	have, err := r.Kernel.Read(ctx, r.Scope)
	if err != nil {
		return nil, nil, fmt.Errorf("read network state: %w", err)
	}
	return Diff(want, have), Blocked(want, have), nil
}

// ErrConnected: the route would take the place of one to a subnet that an
// interface of this host has an address in.
var ErrConnected = errors.New("an interface of this host has an address in that subnet")

// do carries operations out and adds to the failures what is blocked.
func (r *Reconciler) do(ctx context.Context, ops []Op, blocked []Route) error {
	if r.Log.Enabled(ctx, slog.LevelDebug) {
		for _, op := range ops {
			r.Log.DebugContext(ctx, op.String())
		}
	}
	var failed []error
	if len(ops) > 0 {
		err := r.Kernel.Do(ctx, ops)
		joined, ok := err.(interface{ Unwrap() []error })
		switch {
		case ok:
			failed = joined.Unwrap()
		case err != nil:
			return err
		}
	}
	for _, b := range blocked {
		failed = append(failed, &OpError{Op{Set, b}, ErrConnected})
	}
	if failed == nil {
		return nil
	}
	return &ApplyError{Total: len(ops) + len(blocked), Failed: failed}
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
// setting of routes failed, and not that of all that could be made: the gateways
// of some cannot be reached, or this host is in their subnet; everything else is
// in place.
func OnlyRoutes(err error, wanted int) bool {
	var e *ApplyError
	if !errors.As(err, &e) {
		return false
	}
	tried := 0
	for _, failed := range e.Failed {
		var op *OpError
		if !errors.As(failed, &op) {
			return false
		}
		if _, ok := op.Op.Object.(Route); !ok {
			return false
		}
		if !errors.Is(failed, ErrConnected) {
			tried++
		}
	}
	return tried == 0 || tried < wanted
}
