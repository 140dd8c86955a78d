// Package etcd reaches etcd: it decides which credentials an endpoint is shown, and
// finds out what answers there, and why not. It serves each store that lies in etcd,
// and does not know which API of etcd's that one speaks.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Transport carries requests to etcd's endpoints, and shows the credentials to
// nobody else: an answer may send the client anywhere. Safe for concurrent use.
type Transport struct {
	access Access
	dialer *Dialer
	header time.Duration
	hosts  map[string]bool // the endpoints, each as scheme and host

	mu      sync.Mutex
	config  *tls.Config     // what the carrier was made with
	carrier *http.Transport // nil: not made
}

// NewTransport returns a Transport for the endpoints, which are URLs. An answer's
// header may take as long as header says; zero: for ever.
func NewTransport(endpoints []string, a Access, d *Dialer, header time.Duration) *Transport {
	t := &Transport{access: a.Filled(), dialer: d, header: header, hosts: make(map[string]bool)}
	for _, e := range endpoints {
		if u, err := url.Parse(e); err == nil { // nothing can be sent to another
			t.hosts[Endpoint(u)] = true
		}
	}
	return t
}

// CloseIdleConnections closes the connections that no request uses.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.carrier != nil {
		t.carrier.CloseIdleConnections()
	}
}

// carry returns what carries a request. When the certificates have changed it is a
// new one: older connections end with the requests that use them.
func (t *Transport) carry() *http.Transport {
	now := t.access.TLS()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.carrier != nil && now == t.config {
		return t.carrier
	}
	if t.carrier != nil {
		t.carrier.CloseIdleConnections()
	}
	t.config = now
	t.carrier = &http.Transport{
		Proxy: t.access.proxy, DialContext: t.dialer.Dial,
		TLSClientConfig: now.Clone(), TLSHandshakeTimeout: t.dialer.timeout,
		ResponseHeaderTimeout: t.header, ForceAttemptHTTP2: true,
		IdleConnTimeout: 90 * time.Second,
	}
	return t.carrier
}

// RoundTrip implements http.RoundTripper. Its errors are EndpointErrors.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	access := t.access
	if !t.hosts[Endpoint(r.URL)] {
		access = Access{}
	}
	resp, err := access.send(r, t.carry())
	if err == nil {
		return resp, nil
	}
	if errors.Is(err, context.DeadlineExceeded) { // net's own timeouts say so, and no context has ended
		err = errors.New(err.Error())
	}
	if r.URL.Scheme == "https" {
		// One side may have refused the other's certificate. The error does not always
		// say so: the server closes the connection, and a write may fail before its
		// alert is read.
		t.access.Refused()
	}
	return nil, t.Failure(r, err)
}

// Endpoint returns a URL's scheme and host, by which an endpoint is known.
func Endpoint(u *url.URL) string { return u.Scheme + "://" + u.Host }

// EndpointError is a failure at one endpoint, which its text names.
type EndpointError struct {
	Endpoint string // scheme and host
	Err      error
}

func (e *EndpointError) Error() string {
	text := plainText(e.Err)
	if _, host, _ := strings.Cut(e.Endpoint, "://"); strings.Contains(text, host) {
		return text
	}
	return e.Endpoint + ": " + text
}

func (e *EndpointError) Unwrap() error { return e.Err }

// ownPort is where an error of net names both ends of a connection.
var ownPort = regexp.MustCompile(`\b((?:read|write) (?:tcp|udp)[46]? \S+):\d+->`)

// plainText returns an error's text without this host's port, which each connection
// has another one of: a failure that lasts is logged, and probed, once by its text.
func plainText(err error) string { return ownPort.ReplaceAllString(err.Error(), "$1->") }
