package etcd

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"

	"flanneld/pkg/tlsfile"
)

// Credentials say where etcd's certificates and password lie, and how to reach it.
type Credentials struct {
	TLS        tlsfile.Files // all empty: the system's authorities, and no certificate
	Username   string        // empty: no password is sent
	Password   string        // used unless a file has it
	File       string        // of the password; empty: none
	Credential string        // where systemd puts the password, if it has one; used without File
	Proxy      string        // URL of the proxy to reach etcd by; empty: none
}

// Access is what etcd is shown of this host, and by which way. The zero value shows nothing. What the
// functions return may change: they are called for each connection or request.
type Access struct {
	Username string             // for basic auth; empty: none
	Password func() string      // not nil with a username
	TLS      func() *tls.Config // the same pointer while nothing has changed; nil: the system's authorities, and no certificate
	Refused  func()             // reads the credentials again, after one side has refused the other; may be nil
	Proxy    string             // URL of the proxy to reach etcd by; empty: none
}

// Open reads the files. The log is told when they change.
func (c Credentials) Open(log *slog.Logger) (Access, error) {
	a := Access{Username: c.Username, Proxy: c.Proxy}
	var looks []func()
	if c.TLS != (tlsfile.Files{}) {
		source, err := tlsfile.Open(c.TLS, log)
		if err != nil {
			return Access{}, fmt.Errorf("%w (check %s)", err, c.atFault())
		}
		a.TLS, looks = source.Config, append(looks, source.Look)
	}
	if c.Username != "" {
		p, err := c.openPassword(log)
		if err != nil {
			return Access{}, fmt.Errorf("read etcd's password: %w (check --etcd-password-file or, without it, LoadCredential=etcd-password: in the unit)", err)
		}
		a.Password, looks = p.Get, append(looks, p.Look)
	}
	a.Refused = func() {
		for _, look := range looks {
			look()
		}
	}
	return a, nil
}

// atFault names the flags of the TLS files that cannot be used.
func (c Credentials) atFault() string {
	if c.TLS.CA != "" {
		if _, err := tlsfile.Open(tlsfile.Files{CA: c.TLS.CA}, slog.New(slog.DiscardHandler)); err != nil {
			return "--etcd-cafile"
		}
	}
	return "--etcd-certfile and --etcd-keyfile"
}

// Filled returns the same with functions that may be called.
func (a Access) Filled() Access {
	if a.TLS == nil {
		a.TLS = func() *tls.Config { return nil }
	}
	if a.Refused == nil {
		a.Refused = func() {}
	}
	return a
}

// send carries a request with the username and the password. If etcd refuses them,
// they are read again, and sent again if they have changed: a refused request was
// not done.
func (a Access) send(r *http.Request, carry http.RoundTripper) (*http.Response, error) {
	if a.Username == "" {
		return carry.RoundTrip(r)
	}
	password := a.Password()
	resp, err := carry.RoundTrip(a.sign(r, password))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	a.Refused()
	again := a.Password()
	if again == password {
		return resp, nil
	}
	second := a.sign(r, again)
	if r.GetBody != nil {
		second.Body, _ = r.GetBody() // of a text: it does not fail
	}
	_ = resp.Body.Close() // nobody reads it
	return carry.RoundTrip(second)
}

// sign returns a request with the username: a transport must not change one.
func (a Access) sign(r *http.Request, password string) *http.Request {
	r = r.Clone(r.Context())
	r.SetBasicAuth(a.Username, password)
	return r
}
