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

// Failure returns the EndpointError of a request that failed, with the proxy that was
// used, or the environment's that was not.
func (t *Transport) Failure(r *http.Request, err error) error {
	if t.access.Proxy != "" {
		err = &proxyError{t.access.Proxy, true, err}
	} else if u, bad := http.ProxyFromEnvironment(r); bad == nil && u != nil {
		err = &proxyError{u.Redacted(), false, err}
	}
	return &EndpointError{Endpoint(r.URL), err}
}
