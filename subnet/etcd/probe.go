package etcd

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// TLSPort and PlainPort are remedies for endpoints of the wrong scheme.
const (
	TLSPort   = "this port speaks TLS: write https:// in --etcd-endpoints"
	PlainPort = "this port does not speak TLS: write http:// in --etcd-endpoints, or give etcd a certificate"
)

const (
	probeTime = time.Second // the longest time of a probe
	probeKeep = time.Minute // the time for which its result is good
	maxBody   = 4096        // the largest part of an answer to one that is read, in bytes
)

// Probe finds out what is behind an error that can mean many things, by looking at
// what answers. It asks an endpoint once a minute at most. Safe for concurrent use.
type Probe struct {
	transport *Transport

	turn  chan struct{}      // of capacity one: the turn to use what follows
	known map[string]finding // by the endpoint and the error
}

// NewProbe returns a Probe that asks over the transport.
func NewProbe(t *Transport) *Probe {
	return &Probe{transport: t, turn: make(chan struct{}, 1), known: make(map[string]finding)}
}

type finding struct {
	hint string // empty: nothing was found
	when time.Time
}

// Connection returns what to do about a connection that has failed; empty if the error
// is clear by itself, or if nothing was found.
func (p *Probe) Connection(ctx context.Context, err error) string {
	e, ok := errors.AsType[*EndpointError](err)
	switch {
	case !ok, p.transport.access.Proxy != "": // the proxy may have closed it
		return ""
	case strings.HasPrefix(e.Endpoint, "https:") && broken(e):
		return p.ask(ctx, e, p.secure)
	case strings.HasPrefix(e.Endpoint, "http:") && broken(e):
		return p.ask(ctx, e, p.tls)
	}
	return ""
}

// Version returns what to do about an endpoint that does not answer as etcd does. Which
// API an etcd of that version lacks, and what to do about that, is said by without.
func (p *Probe) Version(ctx context.Context, err error, without func(version string) string) string {
	e, ok := errors.AsType[*EndpointError](err)
	if !ok {
		return ""
	}
	return p.ask(ctx, e, func(ctx context.Context, u *url.URL) string {
		version, asked := p.version(ctx, u)
		switch {
		case !asked:
			return ""
		case version == "":
			return "what answers there is no etcd: check --etcd-endpoints, and what is between here and etcd"
		}
		return without(version)
	})
}

// ask looks at an endpoint unless the result of an earlier look is still good.
func (p *Probe) ask(ctx context.Context, e *EndpointError, look func(context.Context, *url.URL) string) string {
	u, err := url.Parse(e.Endpoint)
	if err != nil || ctx.Err() != nil || !p.transport.hosts[e.Endpoint] {
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
	key := e.Endpoint + " " + plainText(e.Err)
	f, ok := p.known[key]
	if !ok || time.Since(f.when) >= probeKeep {
		f = finding{look(ctx, u), time.Now()}
		p.known[key] = f
	}
	return f.hint
}

// version asks for etcd's version, which all have, with any API. It is empty if
// what answers is no etcd.
func (p *Probe) version(ctx context.Context, u *url.URL) (version string, asked bool) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, Endpoint(u)+"/version", http.NoBody)
	if err != nil {
		return "", false
	}
	resp, err := p.send(ctx, r)
	if err != nil {
		return "", false
	}
	defer resp.Body.Close()
	var v struct {
		Etcdserver string `json:"etcdserver"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&v)
	if err != nil || !AtLeast(v.Etcdserver, 0, 0) || len(v.Etcdserver) > 40 {
		return "", true
	}
	return Line(v.Etcdserver), true
}

// send carries a request by a connection of its own: an http.Transport logs what a server says
// before it is asked, and may talk to the wrong one. A proxy may want to know what for.
func (p *Probe) send(ctx context.Context, r *http.Request) (*http.Response, error) {
	if p.transport.access.Proxy != "" {
		return p.transport.RoundTrip(r)
	}
	c, err := p.open(ctx, r.URL)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	r.Close = true
	err = r.Write(c)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(bufio.NewReader(io.LimitReader(c, 2*maxBody)), r)
	}
	if err != nil {
		stop()
		_ = c.Close()
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{resp.Body, closer(func() error { stop(); return c.Close() })}
	return resp, nil
}

type closer func() error

func (c closer) Close() error { return c() }

// open opens a connection to a URL's server, which lasts until the context's deadline.
func (p *Probe) open(ctx context.Context, u *url.URL) (net.Conn, error) {
	if u.Scheme == "https" {
		config := p.transport.access.TLS().Clone()
		if config == nil {
			config = new(tls.Config)
		}
		config.ServerName, config.NextProtos = u.Hostname(), nil
		return p.handshake(ctx, u, "443", config)
	}
	c, err := p.transport.dialer.Dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")))
	if err == nil {
		end, _ := ctx.Deadline() // ask sets one
		_ = c.SetDeadline(end)
	}
	return c, err
}

// AtLeast reports whether a version such as "3.4.0" is major.minor or later. One
// that is no version is not.
func AtLeast(version string, major, minor int) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(first)
	b, err2 := strconv.Atoi(second)
	return err1 == nil && err2 == nil && (a > major || a == major && b >= minor)
}

// Line returns a server's text in one line.
func Line(text string) string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
}

// tls looks whether a port that was spoken to in plain text speaks TLS.
func (p *Probe) tls(ctx context.Context, u *url.URL) string {
	// Any certificate will do: nothing is said over the connection.
	t, err := p.handshake(ctx, u, "80", &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // see above
	if err == nil {
		_ = t.Close()
	}
	if err == nil || strings.Contains(err.Error(), "remote error: tls:") {
		return TLSPort
	}
	return ""
}

// broken reports whether a connection was closed before anything was read. In TLS 1.3
// etcd refuses a certificate after the client's side is done: what the client then
// writes can fail before it reads the alert.
func broken(e *EndpointError) bool {
	text := e.Err.Error()
	return errors.Is(e.Err, io.EOF) || strings.Contains(text, "broken pipe") || strings.Contains(text, "connection reset") ||
		strings.Contains(text, "http2: client conn")
}

// secure looks why a port ends a connection before TLS is spoken.
func (p *Probe) secure(ctx context.Context, u *url.URL) string {
	plain := url.URL{Scheme: "http", Host: net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443"))}
	if version, _ := p.version(ctx, &plain); version != "" {
		return PlainPort
	}
	config := p.transport.access.TLS().Clone()
	if config == nil {
		config = new(tls.Config)
	}
	config.ServerName = u.Hostname()
	t, err := p.handshake(ctx, u, "443", config)
	if err == nil {
		defer t.Close()
		// A server that takes the certificate waits for a request.
		_, err = t.Read(make([]byte, 1))
	}
	if err == nil {
		return ""
	}
	return remedyTLS(err)
}

// handshake opens a TLS connection that lasts until the context's deadline.
func (p *Probe) handshake(ctx context.Context, u *url.URL, port string, config *tls.Config) (*tls.Conn, error) {
	c, err := p.transport.dialer.Dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)))
	if err != nil {
		return nil, err
	}
	end, _ := ctx.Deadline() // ask sets one
	_ = c.SetDeadline(end)
	t := tls.Client(c, config)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = t.Close()
		return nil, err
	}
	return t, nil
}
