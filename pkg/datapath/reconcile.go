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
	ops, err := r.difference(ctx, want)
	if err != nil || len(ops) == 0 {
		return 0, err
	}
	links := leadingLinkOps(ops)
	if links == 0 {
		return len(ops), r.do(ctx, ops)
	}
	// Whatever happens to a link changes what hangs on it in ways that only the
	// kernel knows: a MAC change flushes neighbours, up and down drop routes. So
	// links first, then look again.
	if err := r.do(ctx, ops[:links]); err != nil {
		return links, err
	}
	if ops, err = r.difference(ctx, want); err != nil || len(ops) == 0 {
		return links, err
	}
	return links + len(ops), r.do(ctx, ops)
}

func (r *Reconciler) difference(ctx context.Context, want State) ([]Op, error) {
	have, err := r.Kernel.Read(ctx, r.Scope)
	if err != nil {
		return nil, fmt.Errorf("read network state: %w", err)
	}
	return Diff(want, have), nil
}

func (r *Reconciler) do(ctx context.Context, ops []Op) error {
	if r.Log.Enabled(ctx, slog.LevelDebug) {
		for _, op := range ops {
			r.Log.DebugContext(ctx, op.String())
		}
	}
	err := r.Kernel.Do(ctx, ops)
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	return &ApplyError{Total: len(ops), Failed: joined.Unwrap()}
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
// setting of routes failed, and not that of all: the gateways of some cannot
// be reached, everything else is in place.
func OnlyRoutes(err error, wanted int) bool {
	var e *ApplyError
	if !errors.As(err, &e) || len(e.Failed) >= wanted {
		return false
	}
	for _, failed := range e.Failed {
		var op *OpError
		if !errors.As(failed, &op) {
			return false
		}
		if _, ok := op.Op.Object.(Route); !ok {
			return false
		}
	}
	return true
}
