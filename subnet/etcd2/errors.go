package etcd2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/client/v2"
)

var (
	errNoNode   = errors.New("the answer is JSON, and not etcd's")
	errPanic    = errors.New("the client cannot read the answer")
	errNoAnswer = errors.New("no answer in time")
)

// apiError returns etcd's own error if err is one with one of the codes.
func apiError(err error, codes ...int) (client.Error, bool) {
	var e client.Error
	if errors.As(err, &e) && slices.Contains(codes, e.Code) {
		return e, true
	}
	return client.Error{}, false
}

// failure is a client error in one line, with the remedies for causes that are
// known.
type failure struct {
	text string
	err  []error
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.err }

// explain makes the client's errors readable and lets errors.Is see into them:
// a ClusterError hides one error per endpoint and spans lines. What the end of
// the caller's context brings about is that context's error; if it was a deadline, it
// also says who did not answer, and the cause that the caller has given to it.
func (s *Store) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		switch cause := context.Cause(ctx); {
		case cause == errNoAnswer: //nolint:errorlint // a caller may wrap ours in its own cause
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return s.late(cause)
		default:
			return ctx.Err()
		}
		err = fmt.Errorf("%w (%v)", errNoAnswer, s.times.call)
	}
	causes := []error{err}
	if c, ok := errors.AsType[*client.ClusterError](err); ok {
		causes = append(causes, c.Errors...)
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	if !strings.Contains(text, "://") && !strings.Contains(text, "dial ") { // that names an endpoint
		text = "etcd at " + strings.Join(s.opts.Endpoints, ",") + ": " + text
	}
	var hints []string
	for _, c := range causes {
		if _, many := errors.AsType[*client.ClusterError](c); many {
			continue
		}
		hint := s.probe.ask(ctx, c)
		if hint == "" {
			hint = remedy(c)
		}
		if hint != "" && !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
	}
	if hints != nil {
		text += " (" + strings.Join(hints, "; ") + ")"
	}
	return &failure{text, causes}
}

// late is the error of a caller's own deadline.
func (s *Store) late(cause error) error {
	text := cause.Error()
	if errors.Is(cause, context.DeadlineExceeded) { // the caller has nothing to say about it
		text = errNoAnswer.Error()
	}
	return &failure{
		fmt.Sprintf("etcd at %s: %s (%s)", strings.Join(s.opts.Endpoints, ","), text, remedy(errNoAnswer)),
		[]error{context.DeadlineExceeded, cause},
	}
}

// guard turns a panic of the client, which some answers make, into an error.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", errPanic, p)
	}
}
