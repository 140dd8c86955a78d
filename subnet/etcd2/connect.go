package etcd2

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"go.etcd.io/etcd/client/v2"
)

// connect makes a client with a transport of its own.
func connect(o Options, times timing) (client.Client, *transport, error) {
	tlsConfig, err := tlsConfig(o)
	if err != nil {
		return nil, nil, fmt.Errorf("set up TLS to etcd: %w", err)
	}
	dialer := &net.Dialer{Timeout: times.dial, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	t := &transport{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext,
		TLSClientConfig: tlsConfig, TLSHandshakeTimeout: times.dial,
		ResponseHeaderTimeout: times.header, ForceAttemptHTTP2: true,
		IdleConnTimeout: 90 * time.Second,
	}}
	c, err := client.New(client.Config{
		Endpoints: o.Endpoints, Transport: t,
		Username: o.Username, Password: o.Password,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("set up etcd client: %w", err)
	}
	return c, t, nil
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
