package etcd2

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/v2"
)

const (
	dialTimeout = 3 * time.Second
	// headerTimeout finds a member that hangs. etcd sends the header of a watch
	// at once, so it serves these too.
	headerTimeout = 8 * time.Second
)

// connect makes a client with a transport of its own. index holds the last
// X-Etcd-Index that an answer carried.
func connect(o Options) (client.Client, *index, error) {
	tlsConfig, err := tlsConfig(o)
	if err != nil {
		return nil, nil, fmt.Errorf("set up TLS to etcd: %w", err)
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext,
		TLSClientConfig: tlsConfig, TLSHandshakeTimeout: dialTimeout,
		ResponseHeaderTimeout: headerTimeout, ForceAttemptHTTP2: true,
	}
	idx := &index{RoundTripper: t, transport: t}
	c, err := client.New(client.Config{
		Endpoints: o.Endpoints, Transport: idx,
		Username: o.Username, Password: o.Password,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("set up etcd client: %w", err)
	}
	return c, idx, nil
}

// tlsConfig reads the files that the options name; nil if they name none.
func tlsConfig(o Options) (*tls.Config, error) {
	if o.CertFile == "" && o.KeyFile == "" && o.CAFile == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case (o.CertFile == "") != (o.KeyFile == ""):
		return nil, errors.New("a certificate and its key are needed, not one of them")
	case o.CertFile != "":
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read certificate %s and key %s: %w", o.CertFile, o.KeyFile, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", o.CAFile)
		}
	}
	return c, nil
}

// index is a transport that remembers how far the store was when it answered.
type index struct {
	http.RoundTripper
	transport *http.Transport
	last      atomic.Uint64
}

// RoundTrip implements http.RoundTripper.
func (i *index) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := i.RoundTripper.RoundTrip(r)
	if err == nil {
		if n, err := strconv.ParseUint(resp.Header.Get("X-Etcd-Index"), 10, 64); err == nil {
			i.last.Store(n)
		}
	}
	return resp, err
}

// CancelRequest is what the client's transport interface asks for; requests end
// with their context.
func (i *index) CancelRequest(*http.Request) {}
