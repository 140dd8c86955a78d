package etcdsrv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"flanneld/pkg/glog"
)

func finder(t *testing.T, s *server) (*Finder, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	return &Finder{Domain: "example.com", Resolver: s.resolver(t), Log: slog.New(glog.New(&log, nil))}, &log
}

func TestEndpointsAreThoseOfTheRecords(t *testing.T) {
	const tls, open = "_etcd-client-ssl._tcp.example.com", "_etcd-client._tcp.example.com"
	many := make([]string, mostRecords+1)
	for i := range many {
		many[i] = fmt.Sprintf("e%d.example.com", i)
	}
	for name, row := range map[string]struct {
		tls, plain []string // nil: there is no such record
		silent     string
		broken     string
		secure     string
		want       []string
		err        []string
	}{
		"over TLS":            {tls: []string{"b.example.com", "A.Example.Com"}, want: []string{"https://a.example.com:2379", "https://b.example.com:2379"}},
		"both":                {tls: []string{"a.example.com"}, plain: []string{"b.example.com"}, want: []string{"https://a.example.com:2379"}},
		"plain":               {plain: []string{"a.example.com"}, want: []string{"http://a.example.com:2379"}},
		"the domain itself":   {plain: []string{"example.com"}, want: []string{"http://example.com:2379"}},
		"no service over TLS": {tls: []string{""}, plain: []string{"a.example.com"}, want: []string{"http://a.example.com:2379"}},
		"the same twice":      {tls: []string{"a.example.com", "a.example.com"}, want: []string{"https://a.example.com:2379"}},
		"none":                {err: []string{"find etcd by --etcd-srv=example.com", tls, open}},
		"plain, with a password": {plain: []string{"a.example.com"}, secure: "the password",
			err: []string{"only a record " + open, "none " + tls + ", which the password needs"}},
		"another domain":      {tls: []string{"a.example.org"}, err: []string{"record " + tls, "its target a.example.org is outside the domain"}},
		"nearly the domain":   {tls: []string{"a.notexample.com"}, err: []string{"outside the domain"}},
		"too many":            {tls: many, err: []string{"record " + tls, "33 targets, more than 32"}},
		"no answer about TLS": {plain: []string{"a.example.com"}, silent: tls, err: []string{tls, "127.0.0.1:", "check the resolver"}},
		"failure about TLS":   {plain: []string{"a.example.com"}, broken: tls, err: []string{tls, "server misbehaving"}},
		"failure about both":  {broken: open, err: []string{open, "server misbehaving"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{silent: map[string]bool{row.silent: true}, broken: map[string]bool{row.broken: true}}
			if row.tls != nil {
				s.set(overTLS, row.tls...)
			}
			if row.plain != nil {
				s.set(plain, row.plain...)
			}
			f, log := finder(t, s)
			f.Secure = row.secure
			got, err := f.Endpoints(t.Context(), false)
			if !slices.Equal(got, row.want) || (err == nil) != (row.want != nil) {
				t.Errorf("endpoints are %v, %v; want %v", got, err, row.want)
			}
			for _, part := range row.err {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not have %q", err, part)
				}
			}
			if (err == nil) != strings.Contains(log.String(), "Found etcd by DNS domain=example.com endpoints=") {
				t.Errorf("the log says %s", log)
			}
		})
	}
}

func TestEndpointsThatAnswerAreNotLookedUpAgain(t *testing.T) {
	var s server
	s.set(plain, "a.example.com")
	f, log := finder(t, &s)
	for range 3 {
		if _, err := f.Endpoints(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.queries(); n != 2 { // one for each record
		t.Errorf("the resolver was asked %d times", n)
	}
	// They do not answer: it is looked again, but not for each call.
	if _, err := f.Endpoints(t.Context(), true); err != nil || s.queries() != 2 {
		t.Errorf("%v; the resolver was asked %d times", err, s.queries())
	}
	s.set(plain, "b.example.com")
	f.when = f.when.Add(-lookAgain)
	if got, err := f.Endpoints(t.Context(), true); err != nil || !slices.Equal(got, []string{"http://b.example.com:2379"}) {
		t.Errorf("endpoints are %v, %v", got, err)
	}
	// The resolver fails: they are those of before, and that is said once.
	s.mu.Lock()
	s.broken = map[string]bool{"_etcd-client-ssl._tcp.example.com": true}
	s.mu.Unlock()
	for range 2 {
		f.when = f.when.Add(-lookAgain)
		if got, err := f.Endpoints(t.Context(), true); err != nil || !slices.Equal(got, []string{"http://b.example.com:2379"}) {
			t.Errorf("endpoints are %v, %v", got, err)
		}
	}
	if n := strings.Count(log.String(), "Cannot look up etcd's SRV records again"); n != 1 {
		t.Errorf("the log says %s", log)
	}
}

func TestALookUpEndsWithItsContext(t *testing.T) {
	s := &server{silent: map[string]bool{"_etcd-client-ssl._tcp.example.com": true}}
	f, _ := finder(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Endpoints(ctx, false); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	s.mu.Lock()
	s.silent = nil
	s.mu.Unlock()
	s.set(plain, "a.example.com")
	if got, err := f.Endpoints(t.Context(), false); err != nil || len(got) != 1 { // at once
		t.Errorf("endpoints are %v, %v", got, err)
	}
}

// Whatever a resolver says, etcd is asked for in the domain only.
func FuzzEndpoints(f *testing.F) {
	f.Add("a.example.com.", uint16(2379))
	f.Add("example.com", uint16(0))
	f.Add("x@evil.org/.example.com", uint16(1))
	f.Fuzz(func(t *testing.T, target string, port uint16) {
		got, err := endpoints("Example.com.", "https", []*net.SRV{{Target: target, Port: port}})
		for _, e := range got {
			u, bad := url.Parse(e)
			if err != nil || bad != nil || u.User != nil || u.Path != "" || u.Port() == "0" ||
				u.Hostname() != "example.com" && !strings.HasSuffix(u.Hostname(), ".example.com") {
				t.Errorf("target %q is %q: %v %v", target, e, bad, err)
			}
		}
	})
}
