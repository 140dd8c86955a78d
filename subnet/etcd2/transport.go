package etcd2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// What a transport makes of answers to wait requests that the client would hang
// or spin on.
var (
	errHeld   = errors.New("watch is not answered")
	errFuture = errors.New("etcd is behind what it told before: was it wiped, or restored?")
	errEmpty  = errors.New("watch ends at once and without an event")
)

// transport carries the client's requests. The fields are a poll's, which has
// one request at a time.
type transport struct {
	*http.Transport
	patient *http.Transport // for waits, without a header timeout; nil: the same one
	after   uint64          // a wait to a store that is not as far fails with errFuture
	cluster string          // likewise one of another cluster; empty: unknown
	at      uint64          // how far the store was when it answered a wait; zero: it did not
}

// CancelRequest is what the client's transport interface asks for; requests end
// by their Cancel channel.
func (t *transport) CancelRequest(*http.Request) {}

// CloseIdleConnections closes what no request uses.
func (t *transport) CloseIdleConnections() {
	t.Transport.CloseIdleConnections()
	if t.patient != nil {
		t.patient.CloseIdleConnections()
	}
}

// waitForHeader ends the header timeout of waits.
func (t *transport) waitForHeader() {
	if t.patient == nil {
		t.patient = t.Clone()
		t.patient.ResponseHeaderTimeout = 0
	}
}

// RoundTrip implements http.RoundTripper. Its errors name the endpoint.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	wait := r.URL.Query().Get("wait") == "true"
	carry := t.Transport
	if wait && t.patient != nil {
		carry = t.patient
	}
	resp, err := carry.RoundTrip(r)
	if err == nil && wait && resp.StatusCode == http.StatusOK {
		err = t.look(resp)
	}
	if err == nil {
		return resp, nil
	}
	if errors.Is(err, context.DeadlineExceeded) { // so say net's own timeouts, and no context has ended
		err = errors.New(err.Error())
	}
	if wait && strings.Contains(err.Error(), "timeout awaiting response headers") { // net/http has no name for it
		err = fmt.Errorf("%w: %w", errHeld, err)
	}
	return nil, &endpointError{r.URL.Scheme + "://" + r.URL.Host, err}
}

// look judges the header of a wait. It closes the answer that it refuses.
func (t *transport) look(resp *http.Response) error {
	at, err := strconv.ParseUint(resp.Header.Get("X-Etcd-Index"), 10, 64)
	cluster := resp.Header.Get("X-Etcd-Cluster-Id")
	if err == nil && at < t.after || t.cluster != "" && cluster != "" && cluster != t.cluster {
		_ = resp.Body.Close() // nobody reads it
		return errFuture
	}
	t.at = at
	resp.Body = &waitBody{ReadCloser: resp.Body}
	return nil
}

// waitBody is a body that must not be empty: the client would ask again at once,
// and for ever.
type waitBody struct {
	io.ReadCloser
	some bool
}

func (b *waitBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.some = b.some || n > 0
	if err == io.EOF && !b.some {
		err = errEmpty
	}
	return n, err
}

// endpointError is a failure at one endpoint, which its text names.
type endpointError struct {
	endpoint string // scheme and host
	err      error
}

func (e *endpointError) Error() string {
	text := e.err.Error()
	if _, host, _ := strings.Cut(e.endpoint, "://"); strings.Contains(text, host) {
		return text
	}
	return e.endpoint + ": " + text
}

func (e *endpointError) Unwrap() error { return e.err }
