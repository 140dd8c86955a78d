package etcd3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"flanneld/pkg/words"
	"flanneld/subnet"
	"flanneld/subnet/etcd"
)

var (
	// errNotEtcd: there is an answer, and not one that etcd gives.
	errNotEtcd = errors.New("the answer is not etcd's")
	errNoV3    = errors.New("there is no etcd v3 API")
	errAnswer  = errors.New("an answer of etcd's")
	errBroken  = errors.New("the connection was closed")
	errTooLong = errors.New("the answer is too long: is there more below --etcd-prefix than leases?")
)

// apiError reports whether err is etcd's own, and one of these.
func apiError(err error, these ...error) bool {
	return slices.ContainsFunc(these, func(e error) bool { return errors.Is(err, e) })
}

// code returns the one that gRPC has for an error.
func code(err error) codes.Code {
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return e.Code()
	}
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus().Code()
	}
	return codes.OK
}

// refused reports whether etcd's answer shows that it did not do what was asked.
func refused(err error) bool {
	_, ok := errors.AsType[rpctypes.EtcdError](err)
	return ok && code(err) != codes.Unavailable
}

// another reports whether another member may do better.
func another(err error) bool {
	return err != nil && !refused(err) && !errors.Is(err, errClosed) && !errors.Is(err, errTooLong) && !errors.Is(err, subnet.ErrCompacted)
}

// closed is how an error ends of a connection that was closed by this side.
const closed = "use of closed network connection"

// named adds the endpoint to an error of this member, and puts its reason in the place of
// what gRPC makes of it.
func (m *member) named(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, errClosed) || errors.Is(err, subnet.ErrCompacted) {
		return err
	}
	why := m.reason()
	text := plain(err)
	switch c := code(err); {
	case refused(err):
		return m.access.Failure(m.url, err)
	case ctx.Err() != nil && why == nil:
		why = context.Cause(ctx)
	case why != nil && (c == codes.Unavailable || ctx.Err() != nil):
	case c == codes.Canceled, c == codes.DeadlineExceeded: // the server knows our deadline, and its clock may be ahead
		why = etcd.ErrNoAnswer
	case c == codes.ResourceExhausted && strings.Contains(text, "larger than max"):
		why = errTooLong
	case strings.HasPrefix(text, "error reading server preface: ") && strings.HasSuffix(text, closed): // by gRPC, after a while
		why = etcd.ErrNoAnswer
	case strings.HasSuffix(text, "error reading from server: EOF"), strings.HasSuffix(text, closed):
		why = errBroken
	case strings.HasSuffix(text, "EOF"): // nothing was read: the port may speak TLS
		why = &etcd.Failure{Text: "EOF", Causes: []error{err, io.EOF}}
	case strings.Contains(text, "connection reset"), strings.Contains(text, "broken pipe"), strings.Contains(text, "remote error: tls:"):
		text = strings.TrimPrefix(text, "error reading server preface: ")
		why = &etcd.Failure{Text: words.Clip(text), Causes: []error{err}}
	case c == codes.Unimplemented, c == codes.Internal, strings.Contains(text, "unexpected HTTP status"), strings.Contains(text, "server preface"):
		why = fmt.Errorf("%w: %s", errNotEtcd, words.Clip(text))
	case c != codes.OK:
		f := &etcd.Failure{Text: words.Clip(text), Causes: []error{err}}
		if _, ok := errors.AsType[rpctypes.EtcdError](err); ok {
			f.Causes = append(f.Causes, errAnswer)
		}
		why = f
	default:
		why = err
	}
	return m.access.Failure(m.url, why)
}

// plain returns the text of gRPC's error, without those of its parts around it.
func plain(err error) string {
	text := status.Convert(err).Message()
	if i := strings.LastIndex(text, `desc = "`); i >= 0 {
		text = strings.TrimSuffix(text[i+len(`desc = "`):], `"`)
	}
	return etcd.Line(text)
}

// failure returns what the endpoints' errors say, with what to do about them.
func (a *api) failure(ctx context.Context, causes []error) error {
	var texts, hints []string
	for i, c := range causes {
		if text := c.Error(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
		hint := a.hint(ctx, c)
		if strings.Contains(hint, noV3) {
			causes[i] = fmt.Errorf("%w: %w", errNoV3, c)
		}
		if hint != "" && !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
	}
	text := strings.Join(texts, "; ")
	if !strings.Contains(text, "://") && !strings.Contains(text, "dial ") { // that names an endpoint
		text = "etcd at " + a.endpoints + ": " + text
	}
	if hints != nil {
		text += " (" + strings.Join(hints, "; ") + ")"
	}
	if lacks := etcd.Lacking(causes, errNoV3, errAnswer); lacks != nil {
		causes = append(causes, lacks)
	}
	return &etcd.Failure{Text: text, Causes: causes}
}

// hint says what to do about one endpoint's error; empty if that is not known.
func (a *api) hint(ctx context.Context, err error) string {
	if errors.Is(err, errNotEtcd) {
		if hint := a.probe.Version(ctx, err, withoutV3); hint != "" {
			return hint
		}
	}
	return cmp.Or(a.probe.Connection(ctx, err), remedy(err))
}

// remedy says what to do about one endpoint's error; empty if that is not known.
func remedy(err error) string {
	switch {
	case errors.Is(err, errNotEtcd):
		return "check that --etcd-endpoints names an etcd, and what is between it and here"
	case apiError(err, rpctypes.ErrUserEmpty, rpctypes.ErrAuthFailed, rpctypes.ErrPermissionDenied, rpctypes.ErrInvalidAuthToken):
		return "check --etcd-username and its password, and that etcd's role lets this user read and write below --etcd-prefix"
	case apiError(err, rpctypes.ErrNoLeader, rpctypes.ErrTimeout, rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrTimeoutDueToConnectionLost):
		return etcd.NoQuorum
	case apiError(err, rpctypes.ErrNoSpace):
		return "etcd's database is full: compact and defragment it, and then disarm its alarm (etcdctl alarm disarm)"
	}
	return etcd.Remedy(err)
}

const noV3 = "has no v3 API"

// withoutV3 says what to do about an etcd that does not speak the v3 API.
func withoutV3(version string) string {
	if !etcd.AtLeast(version, 3, 0) {
		return fmt.Sprintf("etcd %s "+noV3+": use etcd 3.4 or later, or --etcd-api=v2", version)
	}
	return fmt.Sprintf("etcd %s answers there, but not its v3 API: check what is between it and here, which must pass on HTTP/2", version)
}
