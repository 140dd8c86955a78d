package etcd2

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"flanneld/subnet/etcd"
)

// What a transport makes of answers to wait requests that the client would hang
// or spin on.
var (
	errHeld   = errors.New("watch is not answered")
	errFuture = errors.New("etcd is behind what it told before: was it wiped, or restored?")
	errEmpty  = errors.New("watch ends at once and without an event")
)

// transport carries the client's requests. It judges each endpoint's answer, so
// that the client goes on to the next one.
type transport struct {
	*etcd.Transport
	patient *etcd.Transport // without a header timeout

	// These are a poll's, which has one request at a time.
	patience bool   // waits have no header timeout
	after    uint64 // a wait to a store that is not as far fails with errFuture
	cluster  string // likewise one of another cluster; empty: unknown
	at       uint64 // how far the store was when it answered a wait; zero: it did not

	answered time.Time // when it did
}

func newTransport(o Options, d *etcd.Dialer, times timing) *transport {
	return &transport{
		Transport: etcd.NewTransport(o.Endpoints, o.Access, d, times.header),
		patient:   etcd.NewTransport(o.Endpoints, o.Access, d, 0),
	}
}

// CancelRequest is what the client's transport interface asks for; requests end
// by their Cancel channel.
func (t *transport) CancelRequest(*http.Request) {}

// CloseIdleConnections closes what no request uses.
func (t *transport) CloseIdleConnections() {
	t.Transport.CloseIdleConnections()
	t.patient.CloseIdleConnections()
}

// RoundTrip implements http.RoundTripper. Its errors name the endpoint.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	wait := r.URL.Query().Get("wait") == "true"
	carry := t.Transport
	if wait && t.patience {
		carry = t.patient
	}
	resp, err := carry.RoundTrip(r)
	if err == nil {
		if err = t.judge(r, resp, wait); err == nil {
			return resp, nil
		}
		_ = resp.Body.Close() // nobody reads it
		return nil, t.Failure(r, err)
	}
	if wait && strings.Contains(err.Error(), "timeout awaiting response headers") { // net/http has no name for it
		err = fmt.Errorf("%w: %w", errHeld, err)
	}
	return nil, err
}

// judge looks at an answer before its body is read.
func (t *transport) judge(r *http.Request, resp *http.Response, wait bool) error {
	if !strings.HasPrefix(r.URL.Path, "/v2/") {
		return nil
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		return refusal(resp)
	}
	if resp.StatusCode/100 == 3 {
		return nil
	}
	body := &answer{ReadCloser: resp.Body, endpoint: etcd.Endpoint(r.URL), status: resp.StatusCode, left: maxBody}
	resp.Body = body
	if !wait || resp.StatusCode != http.StatusOK {
		return nil
	}
	body.wait = true
	at, err := strconv.ParseUint(resp.Header.Get("X-Etcd-Index"), 10, 64)
	cluster := resp.Header.Get("X-Etcd-Cluster-Id")
	if err == nil && at < t.after || t.cluster != "" && cluster != "" && cluster != t.cluster {
		return errFuture
	}
	t.at, t.answered = at, time.Now()
	return nil
}
