package etcd2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/subnet/etcd"
)

// maxRedirects is more than any etcd answers with, and bounds what a server can
// make the client ask.
const maxRedirects = 2

// api asks one thing at a time of the v2 API. Its errors say what to do. Safe for
// concurrent use.
type api struct {
	client    client.Client
	keys      client.KeysAPI
	transport *transport
	probe     *etcd.Probe
	endpoints string
	call      time.Duration // the longest time that bound allows
}

// connect makes an api with connections of its own. The client knows no password: its
// own could not change, and the transport's can.
func connect(o Options, d *etcd.Dialer, times timing) (*api, error) {
	t := newTransport(o, d, times)
	c, err := client.New(client.Config{Endpoints: o.Endpoints, Transport: t, CheckRedirect: func(followed int) error {
		if followed > maxRedirects {
			return client.ErrTooManyRedirects
		}
		return nil
	}})
	if err != nil {
		return nil, fmt.Errorf("set up etcd client: %w", err)
	}
	return &api{c, client.NewKeysAPI(c), t, etcd.NewProbe(t.Transport), strings.Join(o.Endpoints, ","), times.call}, nil
}

// bound gives a method its deadline. What is asked of etcd in it goes through
// explain, which knows this deadline from the caller's.
func (a *api) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, a.call, etcd.ErrNoAnswer)
}

// get reads a key with a quorum: a member that is cut off answers others from
// its past. The answer has the store's index also if there is no such key. The context
// is a bound one, here and below.
func (a *api) get(ctx context.Context, key string, recursive bool) (*client.Response, error) {
	r, err := a.ask(ctx, func() (*client.Response, error) {
		return a.keys.Get(ctx, key, &client.GetOptions{Quorum: true, Recursive: recursive})
	})
	if e, ok := errors.AsType[client.Error](err); ok {
		r = &client.Response{Index: e.Index}
	}
	return r, err
}

func (a *api) put(ctx context.Context, key, value string, o *client.SetOptions) (*client.Response, error) {
	return a.ask(ctx, func() (*client.Response, error) { return a.keys.Set(ctx, key, value, o) })
}

func (a *api) delete(ctx context.Context, key string) error {
	_, err := a.keys.Delete(ctx, key, nil)
	return a.explain(ctx, err)
}

func (a *api) ask(ctx context.Context, request func() (*client.Response, error)) (*client.Response, error) {
	if err := ctx.Err(); err != nil { // the client would still send it
		return nil, a.explain(ctx, err)
	}
	r, err := request()
	if err == nil && (r.Node == nil || r.Node.ModifiedIndex == 0 || slices.Contains(r.Node.Nodes, nil)) {
		err = errNoNode
	}
	return r, a.explain(ctx, err)
}

// explain makes the client's errors readable and lets errors.Is see into them:
// a ClusterError hides one error per endpoint and spans lines. What the end of
// the caller's context brings about is that context's error; if it was a deadline, it
// also says who did not answer, and the cause that the caller has given to it.
func (a *api) explain(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case err == nil:
		return nil
	case cause == nil:
	case cause == etcd.ErrNoAnswer: //nolint:errorlint // a caller may wrap ours in its own cause
		err = fmt.Errorf("%w (%v)", etcd.ErrNoAnswer, a.call)
	case !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ctx.Err()
	default:
		err = cause
		if errors.Is(cause, context.DeadlineExceeded) { // the caller has nothing to say about it
			err = etcd.ErrNoAnswer
		}
		text := fmt.Sprintf("etcd at %s: %v (%s)", a.endpoints, err, remedy(etcd.ErrNoAnswer))
		return &etcd.Failure{Text: text, Causes: []error{context.DeadlineExceeded, cause}}
	}
	causes := []error{err}
	if c, ok := errors.AsType[*client.ClusterError](err); ok {
		causes = c.Errors
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	if !strings.Contains(text, "://") && !strings.Contains(text, "dial ") { // that names an endpoint
		text = "etcd at " + a.endpoints + ": " + text
	}
	var hints []string
	for _, c := range causes {
		if hint := a.hint(ctx, c); hint != "" && !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
	}
	if hints != nil {
		text += " (" + strings.Join(hints, "; ") + ")"
	}
	if lacks := etcd.Lacking(causes, errNoV2, errServer); lacks != nil {
		causes = append(slices.Clip(causes), lacks)
	}
	return &etcd.Failure{Text: text, Causes: causes}
}

// hint says what to do about one endpoint's error; empty if that is not known.
func (a *api) hint(ctx context.Context, err error) string {
	ask := a.probe.Connection
	if errors.Is(err, errNoV2) || errors.Is(err, errNotEtcd) {
		ask = func(ctx context.Context, err error) string { return a.probe.Version(ctx, err, withoutV2) }
	}
	return cmp.Or(ask(ctx, err), remedy(err))
}
