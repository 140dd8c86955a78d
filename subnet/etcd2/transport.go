package etcd2

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
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
	access access
	tls    func() *tls.Config // nil: the default
	make   func(c *tls.Config, header time.Duration) *http.Transport
	header time.Duration // how long an answer's header may take

	mu       sync.Mutex
	config   *tls.Config     // what the carriers were made with
	carrier  *http.Transport // nil: not made
	patient  *http.Transport // for waits, without a header timeout; nil: not made
	patience bool            // waits have no header timeout

	// These are a poll's, which has one request at a time.
	after   uint64 // a wait to a store that is not as far fails with errFuture
	cluster string // likewise one of another cluster; empty: unknown
	at      uint64 // how far the store was when it answered a wait; zero: it did not

	answered time.Time // when it did
}

// CancelRequest is what the client's transport interface asks for; requests end
// by their Cancel channel.
func (t *transport) CancelRequest(*http.Request) {}

// CloseIdleConnections closes what no request uses.
func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range []*http.Transport{t.carrier, t.patient} {
		if c != nil {
			c.CloseIdleConnections()
		}
	}
}

// waitForHeader ends the header timeout of waits.
func (t *transport) waitForHeader() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.patience = true
}

// carry returns what carries a request: connections are used for as long as they
// were made with what is valid now. Older ones end with the requests that use
// them.
func (t *transport) carry(wait bool) *http.Transport {
	var now *tls.Config
	if t.tls != nil {
		now = t.tls()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now != t.config {
		for _, c := range []*http.Transport{t.carrier, t.patient} {
			if c != nil {
				c.CloseIdleConnections()
			}
		}
		t.config, t.carrier, t.patient = now, nil, nil
	}
	which, header := &t.carrier, t.header
	if wait && t.patience {
		which, header = &t.patient, 0
	}
	if *which == nil {
		*which = t.make(now.Clone(), header)
	}
	return *which
}

// RoundTrip implements http.RoundTripper. Its errors name the endpoint.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	wait := r.URL.Query().Get("wait") == "true"
	resp, err := t.access.send(r, t.carry(wait))
	if err == nil {
		if err = t.look(r, resp, wait); err == nil {
			return resp, nil
		}
		_ = resp.Body.Close() // nobody reads it
	}
	if errors.Is(err, context.DeadlineExceeded) { // so say net's own timeouts, and no context has ended
		err = errors.New(err.Error())
	}
	if wait && strings.Contains(err.Error(), "timeout awaiting response headers") { // net/http has no name for it
		err = fmt.Errorf("%w: %w", errHeld, err)
	}
	if t.access.refused != nil && ofTLS(err) {
		t.access.refused()
	}
	return nil, &endpointError{endpoint(r), err}
}

// look judges an answer before its body is read.
func (t *transport) look(r *http.Request, resp *http.Response, wait bool) error {
	if !strings.HasPrefix(r.URL.Path, "/v2/") {
		return nil
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		return refusal(resp)
	}
	if resp.StatusCode/100 == 3 {
		return nil
	}
	body := &answer{ReadCloser: resp.Body, endpoint: endpoint(r), status: resp.StatusCode, left: maxBody}
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

func endpoint(r *http.Request) string { return r.URL.Scheme + "://" + r.URL.Host }

// ownPort is where an error of net names both ends of a connection.
var ownPort = regexp.MustCompile(`\b((?:read|write) (?:tcp|udp)[46]? \S+):\d+->`)

// plainText returns an error's text without our own port, which is another one with each
// connection: what is said, or found out, once for each failure is known by this.
func plainText(err error) string { return ownPort.ReplaceAllString(err.Error(), "$1->") }

// endpointError is a failure at one endpoint, which its text names.
type endpointError struct {
	endpoint string // scheme and host
	err      error
}

func (e *endpointError) Error() string {
	text := plainText(e.err)
	if _, host, _ := strings.Cut(e.endpoint, "://"); strings.Contains(text, host) {
		return text
	}
	return e.endpoint + ": " + text
}

func (e *endpointError) Unwrap() error { return e.err }
