package etcd2

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	tlsPort   = "this port speaks TLS: write https:// in --etcd-endpoints"
	plainPort = "this port does not speak TLS: write http:// in --etcd-endpoints, or give etcd a certificate"
)

const (
	probeTime = time.Second // one may take
	probeKeep = time.Minute // its result is good for
)

// probe finds out what is behind an error that can mean many things, by looking
// at what answers. It asks an endpoint once a minute at most.
type probe struct {
	transport *transport
	resolver  *net.Resolver

	turn  chan struct{}      // of capacity one: whose turn it is to use what follows
	known map[string]finding // by the endpoint and the error
}

func newProbe(t *transport, r *net.Resolver) *probe {
	return &probe{transport: t, resolver: r, turn: make(chan struct{}, 1), known: make(map[string]finding)}
}

type finding struct {
	hint string // empty: nothing was found
	when time.Time
}

// ask returns what to do about an error; empty if it is clear by itself, or could
// not be found out.
func (p *probe) ask(ctx context.Context, err error) string {
	e, ok := errors.AsType[*endpointError](err)
	if !ok || ctx.Err() != nil || !p.transport.access.hosts[e.endpoint] {
		return ""
	}
	u, bad := url.Parse(e.endpoint)
	if bad != nil {
		return ""
	}
	var look func(context.Context, *url.URL) string
	switch {
	case errors.Is(err, errNoV2), errors.Is(err, errNotEtcd):
		look = p.version
	case u.Scheme == "https" && broken(e):
		look = p.secure
	case u.Scheme == "http" && errors.Is(err, io.EOF):
		look = p.tls
	default:
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ""
	}
	key := u.Scheme + " " + u.Host + " " + plainText(e.err)
	f, ok := p.known[key]
	if !ok || time.Since(f.when) >= probeKeep {
		f = finding{look(ctx, u), time.Now()}
		p.known[key] = f
	}
	return f.hint
}

// version asks for etcd's version, which all have, with the v2 API and without.
func (p *probe) version(ctx context.Context, u *url.URL) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.Scheme+"://"+u.Host+"/version", http.NoBody)
	if err != nil {
		return ""
	}
	resp, err := p.transport.RoundTrip(r)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var v struct {
		Etcdserver string `json:"etcdserver"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxText)).Decode(&v)
	switch {
	case err != nil || !atLeast(v.Etcdserver, 0, 0) || len(v.Etcdserver) > 40:
		return "what answers there is no etcd: check --etcd-endpoints, and what is between here and etcd"
	case atLeast(v.Etcdserver, 3, 6):
		return fmt.Sprintf("etcd %s has no v2 API any more: use etcd 3.4 or 3.5 with --enable-v2=true", clean(v.Etcdserver))
	}
	return fmt.Sprintf("this etcd %s has the v2 API switched off: start it with --enable-v2=true, or with ETCD_ENABLE_V2=true in its environment", clean(v.Etcdserver))
}

// clean keeps a version from breaking the line that it is printed in.
func clean(v string) string { return strings.Join(strings.Fields(strings.ToValidUTF8(v, "")), " ") }

// tls looks whether a port that was spoken to in plain text speaks TLS.
func (p *probe) tls(ctx context.Context, u *url.URL) string {
	c, err := p.dial(ctx, u, "80")
	if err != nil {
		return ""
	}
	defer c.Close()
	// Whose certificate that is does not matter: nothing is said over it.
	err = tls.Client(c, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) //nolint:gosec // see above
	if err == nil || strings.Contains(err.Error(), "remote error: tls:") {
		return tlsPort
	}
	return ""
}

// broken reports whether a connection was closed without a word that we have read.
// In TLS 1.3 etcd refuses a certificate after our side is done: what we then write
// can fail before its alert is read.
func broken(e *endpointError) bool {
	text := e.err.Error()
	return errors.Is(e.err, io.EOF) || strings.Contains(text, "broken pipe") || strings.Contains(text, "connection reset") ||
		strings.Contains(text, "http2: client conn")
}

// secure looks why a port ends a connection that we want to speak TLS over.
func (p *probe) secure(ctx context.Context, u *url.URL) string {
	if hint := p.plain(ctx, u); hint != "" {
		return hint
	}
	c, err := p.dial(ctx, u, "443")
	if err != nil {
		return ""
	}
	defer c.Close()
	config := new(tls.Config)
	if p.transport.tls != nil {
		if now := p.transport.tls(); now != nil {
			config = now.Clone()
		}
	}
	config.ServerName = u.Hostname()
	t := tls.Client(c, config)
	if err = t.HandshakeContext(ctx); err == nil {
		// Who takes our certificate waits for what we want.
		_, err = t.Read(make([]byte, 1))
	}
	if err == nil {
		return ""
	}
	return remedyTLS(err)
}

// plain looks whether a port that was spoken to in TLS speaks plain HTTP.
func (p *probe) plain(ctx context.Context, u *url.URL) string {
	c, err := p.dial(ctx, u, "443")
	if err != nil {
		return ""
	}
	defer c.Close()
	var start [5]byte
	if _, err := fmt.Fprintf(c, "GET /version HTTP/1.0\r\nHost: %s\r\n\r\n", u.Host); err != nil {
		return ""
	}
	if _, err := io.ReadFull(c, start[:]); err != nil || string(start[:]) != "HTTP/" {
		return ""
	}
	return plainPort
}

// dial connects until the context's deadline.
func (p *probe) dial(ctx context.Context, u *url.URL, port string) (net.Conn, error) {
	if u.Port() != "" {
		port = u.Port()
	}
	c, err := (&net.Dialer{Resolver: p.resolver}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		err = c.SetDeadline(end)
	}
	return c, err
}
