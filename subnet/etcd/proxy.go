package etcd

import (
	"fmt"
	"net/http"
	"net/url"
)

// proxy is that of an http.Transport. The environment's is not asked: it is for what
// this host fetches from elsewhere, and etcd is often in a network of its own.
func (a Access) proxy(*http.Request) (*url.URL, error) {
	if a.Proxy == "" {
		return nil, nil
	}
	return url.Parse(a.Proxy)
}

// proxyError is a failure of a request for which there is a proxy.
type proxyError struct {
	proxy string // URL
	used  bool   // no: it is the environment's
	err   error
}

func (e *proxyError) Error() string {
	if !e.used {
		return e.err.Error()
	}
	return fmt.Sprintf("by the proxy %s: %v", e.proxy, e.err)
}

func (e *proxyError) Unwrap() error { return e.err }

// Failure returns the EndpointError of what has failed at an endpoint's URL, with the
// proxy that was used, or the environment's that was not.
func (a Access) Failure(u *url.URL, err error) error {
	if a.Proxy != "" {
		err = &proxyError{a.Proxy, true, err}
	} else if other, bad := http.ProxyFromEnvironment(&http.Request{URL: u}); bad == nil && other != nil {
		err = &proxyError{other.Redacted(), false, err}
	}
	return &EndpointError{Endpoint(u), err}
}

// Failure is that of the Transport's Access.
func (t *Transport) Failure(r *http.Request, err error) error { return t.access.Failure(r.URL, err) }
