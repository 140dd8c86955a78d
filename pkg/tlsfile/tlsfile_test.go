package tlsfile

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/tlsfile/tlstest"
)

const year = 365 * day

func logger(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// wantLines checks how often texts occur in a log.
func wantLines(t *testing.T, b *bytes.Buffer, want map[string]int) {
	t.Helper()
	for text, n := range want {
		if got := strings.Count(b.String(), text); got != n {
			t.Errorf("%d lines with %q, want %d:\n%s", got, text, n, b)
		}
	}
}

// certificate returns what a configuration shows a server.
func certificate(t *testing.T, c *tls.Config) []byte {
	t.Helper()
	cert, err := c.GetClientCertificate(new(tls.CertificateRequestInfo))
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf.Raw
}

func TestConfigFollowsTheFiles(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.New(t, dir, "ca", time.Now().Add(10*year))
		p := ca.Issue(t, "client", time.Now().Add(year), year)
		var logs bytes.Buffer
		s, err := Open(Files{p.Cert, p.Key, ca.File}, logger(&logs))
		if err != nil {
			t.Fatal(err)
		}
		first := s.Config()
		old := certificate(t, first)
		time.Sleep(time.Hour)
		if s.Config() != first {
			t.Error("another configuration of the same files")
		}
		ca.Issue(t, "client", time.Now().Add(2*year), 2*year)
		if s.Config() != first {
			t.Error("files are read for each connection")
		}
		time.Sleep(6 * time.Second)
		second := s.Config()
		if second == first || bytes.Equal(certificate(t, second), old) {
			t.Error("the new certificate is not used")
		}
		if !bytes.Equal(certificate(t, first), old) {
			t.Error("a configuration in use has changed")
		}
		tlstest.New(t, dir, "ca", time.Now().Add(20*year))
		s.Look() // as after a refusal
		third := s.Config()
		if third == second || third.RootCAs.Equal(second.RootCAs) {
			t.Error("the new authority is not used")
		}
		wantLines(t, &logs, map[string]int{"they are used for new connections": 2, "\n": 2})
	})
}

// A key is written before its certificate, or after it: in between they do not
// fit.
func TestFilesThatCannotBeUsedChangeNothing(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.New(t, dir, "ca", time.Now().Add(10*year))
		p := ca.Issue(t, "client", time.Now().Add(year), year)
		var logs bytes.Buffer
		s, err := Open(Files{p.Cert, p.Key, ca.File}, logger(&logs))
		if err != nil {
			t.Fatal(err)
		}
		good := s.Config()
		for _, damage := range []func() error{
			func() error { return os.Rename(ca.Issue(t, "other", time.Now().Add(year), year).Cert, p.Cert) },
			func() error { return os.Truncate(ca.File, 10) },
			func() error { return os.Remove(p.Key) },
			func() error { return os.Mkdir(p.Key, 0o700) },
			func() error { return os.Remove(p.Key) },
		} {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				time.Sleep(time.Minute)
				if s.Config() != good {
					t.Error("another configuration")
				}
			}
		}
		if n := strings.Count(logs.String(), "cannot be used"); n != 5 {
			t.Errorf("%d warnings of five changes:\n%s", n, &logs)
		}
		ca = tlstest.New(t, dir, "ca", time.Now().Add(10*year))
		ca.Issue(t, "client", time.Now().Add(year), year)
		time.Sleep(time.Minute)
		if s.Config() == good {
			t.Error("files that can be used again are not")
		}
	})
}

func TestExpiryIsSaidOncePerStep(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.New(t, dir, "ca", time.Now().Add(100*day))
		p := ca.Issue(t, "client", time.Now().Add(40*day), 90*day)
		var logs bytes.Buffer
		s, err := Open(Files{p.Cert, p.Key, ca.File}, logger(&logs))
		if err != nil {
			t.Fatal(err)
		}
		for range 41 * 24 {
			time.Sleep(time.Hour)
			s.Config()
		}
		wantLines(t, &logs, map[string]int{
			"certificate expires in 30 days": 1, "certificate expires in 7 days": 1, "certificate expires in 24h": 1, "certificate has expired": 1,
			"level=ERROR": 1, "\n": 4, p.Cert: 4, "replace the file": 4,
		})
		// A new one begins anew, and what is far behind is not said.
		logs.Reset()
		ca.Issue(t, "client", time.Now().Add(5*day), 90*day)
		time.Sleep(time.Hour)
		s.Config()
		wantLines(t, &logs, map[string]int{"expires in 5 days": 1, "TLS files have changed": 1, "\n": 2})
		logs.Reset()
		time.Sleep(30 * day)
		s.Config()
		wantLines(t, &logs, map[string]int{"certificate has expired": 1, "authority expires in": 1, "\n": 2})
	})
}

func TestShortLivesAreNotWarnedAboutFromTheBeginning(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.New(t, dir, "ca", time.Now().Add(10*year))
		p := ca.Issue(t, "client", time.Now().Add(day), day)
		var logs bytes.Buffer
		s, err := Open(Files{p.Cert, p.Key, ca.File}, logger(&logs))
		if err != nil {
			t.Fatal(err)
		}
		for range 100 { // it is renewed at half of its life
			time.Sleep(day / 2)
			ca.Issue(t, "client", time.Now().Add(day), day)
			s.Config()
		}
		wantLines(t, &logs, map[string]int{"level=WARN": 0, "level=ERROR": 0})
		time.Sleep(day)
		s.Config()
		wantLines(t, &logs, map[string]int{"level=WARN": 0, "level=ERROR": 1})
	})
}

// While an authority is replaced, the file has both.
func TestTheAuthorityThatLastsLongestCounts(t *testing.T) {
	dir := t.TempDir()
	old := tlstest.New(t, dir, "old", time.Now().Add(-day))
	next := tlstest.New(t, dir, "next", time.Now().Add(10*year))
	a, _ := os.ReadFile(old.File)
	b, _ := os.ReadFile(next.File)
	both := filepath.Join(dir, "both")
	if err := os.WriteFile(both, append(append([]byte("# authorities\n"), a...), b...), 0o600); err != nil {
		t.Fatal(err)
	}
	var logs bytes.Buffer
	s, err := Open(Files{CA: both}, logger(&logs))
	if err != nil {
		t.Fatal(err)
	}
	if s.Config().GetClientCertificate != nil {
		t.Error("there is a certificate")
	}
	wantLines(t, &logs, map[string]int{"\n": 0})
}

func TestOpenNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	ca := tlstest.New(t, dir, "ca", time.Now().Add(10*year))
	p := ca.Issue(t, "client", time.Now().Add(year), year)
	q := ca.Issue(t, "other", time.Now().Add(year), year)
	missing := filepath.Join(dir, "missing")
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		f    Files
		text string
	}{
		{Files{Cert: p.Cert}, "its key"},
		{Files{Key: p.Key}, "its key"},
		{Files{Cert: p.Cert, Key: q.Key}, q.Key},
		{Files{Cert: missing, Key: p.Key}, missing},
		{Files{Cert: p.Cert, Key: missing}, missing},
		{Files{CA: missing}, missing},
		{Files{CA: p.Key}, "no certificate"},
		{Files{CA: large}, large},
		{Files{CA: dir}, dir},
	} {
		if _, err := Open(tt.f, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("Open(%+v): %v, want %q", tt.f, err, tt.text)
		}
	}
}

func FuzzAuthorities(f *testing.F) {
	dir := f.TempDir()
	b, err := os.ReadFile(tlstest.New(f, dir, "ca", time.Now().Add(year)).File)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if all, err := authorities(string(file)); (err == nil) != (len(all) > 0) {
			t.Errorf("%d certificates, error %v", len(all), err)
		}
	})
}
