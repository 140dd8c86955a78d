package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"flanneld/cmd/internal/options"
	"flanneld/pkg/tlsfile/tlstest"
)

// answering is an endpoint whose clock is ahead by so much.
func answering(t *testing.T, ahead time.Duration, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestClocksAreCompared(t *testing.T) {
	const etcd = `{"etcdserver":"3.5.1","etcdcluster":"3.5.0"}`
	for _, tt := range []struct {
		ahead time.Duration
		want  State
	}{{0, Pass}, {3 * time.Second, Pass}, {15 * time.Second, Warn}, {-time.Minute, Warn}, {6 * time.Minute, Fail}, {-24 * time.Hour, Fail}} {
		h := &Host{Options: options.Daemon{Etcd: options.Etcd{Endpoints: []string{answering(t, tt.ahead, etcd), answering(t, 0, etcd), "http://127.0.0.1:1"}}}}
		if r := lookClock(t.Context(), h); r.State != tt.want {
			t.Errorf("%s ahead: %+v, want %s", tt.ahead, r, tt.want)
		}
	}
	if r := clocks([]member{{endpoint: "x", err: errors.New("away")}}); r.State != Skip {
		t.Errorf("nobody answers: %+v", r)
	}
}

func TestWhatIsNoEtcdIsNamed(t *testing.T) {
	h := &Host{Options: options.Daemon{Etcd: options.Etcd{Endpoints: []string{answering(t, 0, "<html>")}}}, StoreErr: errors.New("none")}
	if r := lookEtcd(t.Context(), h); r.State != Fail || r.Saw != "no endpoint answers: "+h.Options.Etcd.Endpoints[0]+": what answers there is no etcd" {
		t.Errorf("%+v", r)
	}
}

func TestCertificatesThatEnd(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	at := func(begin, end time.Duration) dated {
		return dated{"c.pem", &x509.Certificate{Subject: pkix.Name{CommonName: "h1"}, NotBefore: now.Add(begin), NotAfter: now.Add(end)}}
	}
	for _, tt := range []struct {
		name string
		all  []dated
		want State
	}{
		{"a year", []dated{at(-day, 365*day)}, Pass},
		{"a month less", []dated{at(-335*day, 29*day)}, Warn},
		{"over", []dated{at(-365*day, -time.Second)}, Fail},
		{"the second is over", []dated{at(-day, 365*day), at(-365*day, -time.Second)}, Fail},
		{"a short one, in its first half", []dated{at(-time.Hour, 23*time.Hour)}, Pass},
		{"a short one, in its last", []dated{at(-13*time.Hour, 11*time.Hour)}, Warn},
	} {
		if r := ends(tt.all, now); r.State != tt.want {
			t.Errorf("%s: %+v, want %s", tt.name, r, tt.want)
		}
	}
}

func TestCertificatesOfFiles(t *testing.T) {
	dir := t.TempDir()
	a := tlstest.New(t, dir, "authority", time.Now().Add(24*time.Hour))
	one, other := a.Issue(t, "one", time.Now().Add(24*time.Hour), 48*time.Hour), a.Issue(t, "other", time.Now().Add(-time.Hour), 48*time.Hour)
	look := func(cert, key string) Result {
		return lookCertificates(t.Context(), &Host{Options: options.Daemon{Etcd: options.Etcd{Endpoints: []string{"http://127.0.0.1:1"}, CertFile: cert, KeyFile: key}}})
	}
	if r := look(one.Cert, one.Key); r.State != Warn {
		t.Errorf("half of its life is over: %+v", r)
	}
	if r := look(one.Cert, other.Key); r.State != Fail {
		t.Errorf("a pair that does not fit: %+v", r)
	}
	if r := look(other.Cert, other.Key); r.State != Fail {
		t.Errorf("one that has ended: %+v", r)
	}
	if text, err := os.ReadFile(one.Key); err != nil || len(parsePEM(text)) != 0 {
		t.Errorf("a key is no certificate: %v", err)
	}
}

// A file of authorities, such as the system's, may have some that have ended. Only those count
// that vouch for etcd.
func TestAuthoritiesThatNobodyUses(t *testing.T) {
	const year = 365 * 24 * time.Hour
	dir := t.TempDir()
	ended, lasts, soon := tlstest.New(t, dir, "ended", time.Now().Add(-time.Hour)), tlstest.New(t, dir, "lasts", time.Now().Add(year)), tlstest.New(t, dir, "soon", time.Now().Add(time.Hour))
	serve := func(a *tlstest.Authority) string {
		pair := a.Issue(t, "server", time.Now().Add(year), year+time.Hour, "127.0.0.1")
		cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"etcdserver":"3.5.1"}`) }))
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	var bundle []byte
	for _, a := range []*tlstest.Authority{ended, lasts, soon} {
		text, err := os.ReadFile(a.File)
		if err != nil {
			t.Fatal(err)
		}
		bundle = append(bundle, text...)
	}
	file := dir + "/bundle.crt"
	if err := os.WriteFile(file, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, ca, endpoint string
		want               State
	}{
		{"a bundle", file, serve(lasts), Pass},
		{"one of it that etcd needs ends soon", file, serve(soon), Warn},
		{"one of it that etcd needs has ended", file, serve(ended), Fail},
		{"etcd does not answer", file, "https://127.0.0.1:1", Pass},
		{"etcd does not answer, and none can vouch for it", ended.File, "https://127.0.0.1:1", Fail},
	} {
		h := &Host{Options: options.Daemon{Etcd: options.Etcd{Endpoints: []string{tt.endpoint}, CAFile: tt.ca}}}
		if r := lookCertificates(t.Context(), h); r.State != tt.want {
			t.Errorf("%s: %+v, want %s", tt.name, r, tt.want)
		}
	}
}
