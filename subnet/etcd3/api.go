package etcd3

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"flanneld/subnet/etcd"
)

// api asks one thing at a time of the v3 API. Its errors say what to do. Safe for
// concurrent use.
type api struct {
	members   *members
	tokens    *tokens
	probe     *etcd.Probe
	times     timing
	endpoints string
}

func newAPI(o Options, d *etcd.Dialer, t timing) (*api, error) {
	ms, err := newMembers(o, d, t)
	if err != nil {
		return nil, err
	}
	return &api{
		members: ms, tokens: &tokens{access: ms.access}, times: t, endpoints: strings.Join(o.Endpoints, ","),
		probe: etcd.NewProbe(etcd.NewTransport(o.Endpoints, o.Access, d, t.answer)),
	}, nil
}

// bound gives a method its deadline. What is asked of etcd in it goes through
// explain, which knows this deadline from the caller's.
func (a *api) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, a.times.call, etcd.ErrNoAnswer)
}

// ask lets one member answer, and the others when that one does not. A connection that ends
// meanwhile, as when the host moves, costs no member its turn, once. What is asked must
// come to the same if it is done twice: nobody knows what a member that does not answer
// has done. The context is a bound one, here and below.
func (a *api) ask(ctx context.Context, request func(context.Context, *member) error) error {
	var failed []error
	broken := false
	for left := len(a.members.endpoints); left > 0 && ctx.Err() == nil; left-- {
		err := a.askOne(ctx, left > 1, request)
		if err == nil || !another(err) {
			return a.explain(ctx, err)
		}
		if errors.Is(err, errBroken) && !broken {
			broken = true
			left++
			continue
		}
		failed = append(failed, err)
	}
	if failed == nil {
		failed = append(failed, ctx.Err())
	}
	return a.explain(ctx, failed...)
}

// askOne asks the member that is in use, and leaves it if another one may do better.
func (a *api) askOne(ctx context.Context, others bool, request func(context.Context, *member) error) error {
	m, err := a.members.use()
	if err != nil {
		return err
	}
	defer a.members.done(m)
	part, cancel := ctx, context.CancelFunc(func() {})
	if others {
		part, cancel = context.WithTimeoutCause(ctx, a.times.answer, etcd.ErrNoAnswer)
	}
	defer cancel()
	err = m.named(part, a.tokens.carry(part, m, request))
	if another(err) {
		a.members.leave(m)
		if m.url.Scheme == "https" { // one side may have refused the other's certificate
			m.access.Refused()
		}
	}
	return err
}

// get reads keys. It is linearizable: a member that is cut off does not answer.
func (a *api) get(ctx context.Context, key string, o ...clientv3.OpOption) (r *clientv3.GetResponse, err error) {
	err = a.ask(ctx, func(ctx context.Context, m *member) error {
		if r, err = m.kv.Get(ctx, key, o...); err != nil {
			return err
		}
		if len(o) == 0 && (len(r.Kvs) > 1 || len(r.Kvs) == 1 && string(r.Kvs[0].GetKey()) != key) {
			return errOther
		}
		return sound(r.Header, r.Kvs...)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// explain makes errors readable, each the reason of one endpoint, and adds what to do. What
// the end of the caller's context brings about is that context's error; if it was a
// deadline, it also says who did not answer, and the cause that the caller has given to it.
func (a *api) explain(ctx context.Context, causes ...error) error {
	if len(causes) == 1 && causes[0] == nil {
		return nil
	}
	switch cause := context.Cause(ctx); {
	case cause == nil:
	case cause == etcd.ErrNoAnswer: //nolint:errorlint // a caller may wrap ours in its own cause
		if errors.Is(causes[len(causes)-1], context.DeadlineExceeded) { // not known to be one endpoint's
			causes[len(causes)-1] = fmt.Errorf("%w (%v)", etcd.ErrNoAnswer, a.times.call.Round(time.Millisecond))
		}
	case !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ctx.Err()
	default:
		reason := cause
		if errors.Is(cause, context.DeadlineExceeded) { // the caller has nothing to say about it
			reason = etcd.ErrNoAnswer
		}
		text := fmt.Sprintf("etcd at %s: %v (%s)", a.endpoints, reason, etcd.Remedy(etcd.ErrNoAnswer))
		return &etcd.Failure{Text: text, Causes: []error{context.DeadlineExceeded, cause}}
	}
	return a.failure(ctx, causes)
}
