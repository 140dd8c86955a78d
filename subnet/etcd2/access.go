package etcd2

import (
	"io"
	"net/http"
)

// access is what etcd is told of who we are, beside a certificate.
type access struct {
	username string // empty: nothing
	password func() string
	refused  func()
	hosts    map[string]bool // the endpoints, each as scheme and host
}

// send carries a request with our name and password. If etcd refuses them, they
// are read again, and asked with again if they have changed: a refused request was
// not done.
//
// Nobody but the endpoints is told: an answer may send us anywhere.
func (a *access) send(r *http.Request, carry http.RoundTripper) (*http.Response, error) {
	if a.username == "" || !a.hosts[endpoint(r)] {
		return carry.RoundTrip(r)
	}
	password := a.secret()
	resp, err := carry.RoundTrip(a.sign(r, password))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || a.refused == nil {
		return resp, err
	}
	a.refused()
	again := a.secret()
	if again == password {
		return resp, nil
	}
	second := a.sign(r, again)
	if r.GetBody != nil {
		if second.Body, err = r.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // the answer stands
		}
	} else if r.Body != nil && r.Body != http.NoBody {
		return resp, nil
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxText) // so that the connection can be used again
	_ = resp.Body.Close()                           // nobody reads it
	return carry.RoundTrip(second)
}

func (a *access) secret() string {
	if a.password == nil {
		return ""
	}
	return a.password()
}

// sign returns a request with our name: a transport must not change one.
func (a *access) sign(r *http.Request, password string) *http.Request {
	r = r.Clone(r.Context())
	r.SetBasicAuth(a.username, password)
	return r
}
