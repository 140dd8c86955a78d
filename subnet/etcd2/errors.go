package etcd2

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/client/v2"
)

var (
	errNoNode = errors.New("etcd answered without a node: is the endpoint an etcd?")
	errPanic  = errors.New("etcd answered what the client cannot read")
)

// apiError returns etcd's own error if err is one with one of the codes.
func apiError(err error, codes ...int) (client.Error, bool) {
	var e client.Error
	if errors.As(err, &e) && slices.Contains(codes, e.Code) {
		return e, true
	}
	return client.Error{}, false
}

// failure is a client error in one line, with the remedy if the cause is a
// known one.
type failure struct {
	text string
	err  []error
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.err }

// explain makes the client's errors readable and lets errors.Is see into them:
// a ClusterError hides one error per endpoint and spans lines.
func explain(err error) error {
	if err == nil {
		return nil
	}
	causes := []error{err}
	if c, ok := errors.AsType[*client.ClusterError](err); ok {
		causes = append(causes, c.Errors...)
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	for _, c := range causes {
		if hint := remedy(c); hint != "" {
			text += " (" + hint + ")"
			break
		}
	}
	return &failure{text, causes}
}

func remedy(err error) string {
	text := err.Error()
	switch {
	case errors.Is(err, client.ErrInvalidJSON):
		return "this endpoint has no etcd v2 API: start etcd with --enable-v2=true; etcd 3.6 and later have none"
	case strings.HasSuffix(text, "EOF"):
		return "if etcd is up: http:// to a TLS port, or https:// to a plain one?"
	case strings.Contains(text, "x509"):
		return "check --etcd-cafile and the names in etcd's certificate"
	case strings.Contains(text, "remote error: tls"):
		return "check --etcd-certfile and --etcd-keyfile"
	case strings.HasPrefix(text, "110:"), strings.HasPrefix(text, "0: Insufficient"):
		return "check --etcd-username and --etcd-password"
	}
	return ""
}

// guard turns a panic of the client, which some answers make, into an error.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", errPanic, p)
	}
}
