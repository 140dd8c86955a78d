package etcd2

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"go.etcd.io/etcd/client/v2"
)

// maxRedirects is more than any etcd answers with, and bounds what a server can
// make us ask.
const maxRedirects = 2

// connect makes a client with a transport of its own. The client knows no
// password: it has one for ever, and the transport's can change.
func connect(o Options, times timing) (client.Client, *transport, error) {
	t, err := newTransport(o, times)
	if err != nil {
		return nil, nil, err
	}
	c, err := client.New(client.Config{Endpoints: o.Endpoints, Transport: t, CheckRedirect: func(followed int) error {
		if followed > maxRedirects {
			return client.ErrTooManyRedirects
		}
		return nil
	}})
	if err != nil {
		return nil, nil, fmt.Errorf("set up etcd client: %w", err)
	}
	return c, t, nil
}

func newTransport(o Options, times timing) (*transport, error) {
	// A name is looked up for each connection, so one that moves is followed.
	dialer := &net.Dialer{Resolver: o.resolver, Timeout: times.dial, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	t := &transport{
		access: access{username: o.Username, password: o.Password, refused: o.Refused, hosts: make(map[string]bool)},
		tls:    o.TLS,
		make: func(c *tls.Config, header time.Duration) *http.Transport {
			return &http.Transport{
				Proxy: http.ProxyFromEnvironment, DialContext: o.connections.over(dialer.DialContext),
				TLSClientConfig: c, TLSHandshakeTimeout: times.dial,
				ResponseHeaderTimeout: header, ForceAttemptHTTP2: true,
				IdleConnTimeout: 90 * time.Second,
			}
		},
		header: times.header,
	}
	for _, e := range o.Endpoints {
		u, err := url.Parse(e)
		if err != nil {
			return nil, fmt.Errorf("set up etcd client: %w", err)
		}
		t.access.hosts[u.Scheme+"://"+u.Host] = true
	}
	return t, nil
}
