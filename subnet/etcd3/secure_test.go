package etcd3

import (
	"context"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"flanneld/pkg/logtest"
	"flanneld/pkg/tlsfile"
	"flanneld/pkg/tlsfile/tlstest"
	"flanneld/subnet/etcd"
	"flanneld/subnet/storetest"
	etcdproc "flanneld/subnet/storetest/etcd"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// secure runs an etcd with a certificate of an authority for 127.0.0.1, which
// wants one of its clients.
func secure(t *testing.T, ca *tlstest.Authority) *etcdproc.Proc {
	t.Helper()
	p := ca.Issue(t, "etcd", time.Now().Add(year), year, "127.0.0.1")
	return etcdproc.StartProc(t, "--cert-file="+p.Cert, "--key-file="+p.Key, "--client-cert-auth", "--trusted-ca-file="+ca.File)
}

// follows returns options with files that are read again.
func follows(t *testing.T, url string, f tlsfile.Files, log *slog.Logger) Options {
	t.Helper()
	src, err := tlsfile.Open(f, log)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Endpoints: []string{url}, Prefix: "/net", Access: etcd.Access{TLS: src.Config, Refused: src.Look}}
}

// What can be wrong with an etcd, with etcds that are wrong.
func TestErrorsOfRealEtcdsSayWhatToDo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := tlstest.New(t, dir, "ca", time.Now().Add(10*year))
	foreign := tlstest.New(t, dir, "foreign", time.Now().Add(10*year))
	good := ca.Issue(t, "client", time.Now().Add(year), year)
	stranger := foreign.Issue(t, "stranger", time.Now().Add(year), year)
	expired := ca.Issue(t, "expired", time.Now().Add(-day), year)
	tlsEtcd := secure(t, ca)
	plain := etcdproc.Start(t)
	server := func(name string, end time.Time, host string) string {
		p := ca.Issue(t, name, end, year, host)
		return etcdproc.StartProc(t, "--cert-file="+p.Cert, "--key-file="+p.Key).URL
	}
	withTLS := func(url string, f tlsfile.Files) Options { return follows(t, url, f, slog.New(slog.DiscardHandler)) }
	all := tlsfile.Files{Cert: good.Cert, Key: good.Key, CA: ca.File}
	other := func(p tlstest.Pair) tlsfile.Files { return tlsfile.Files{Cert: p.Cert, Key: p.Key, CA: ca.File} }
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"http to a TLS port", Options{Endpoints: []string{strings.Replace(tlsEtcd.URL, "https", "http", 1)}}, etcd.TLSPort},
		{"https to a plain port", withTLS(strings.Replace(plain, "http", "https", 1), all), etcd.PlainPort},
		{"unknown authority", withTLS(tlsEtcd.URL, tlsfile.Files{Cert: good.Cert, Key: good.Key, CA: foreign.File}), `signed by unknown authority.*--etcd-cafile`},
		{"the system's authorities", withTLS(tlsEtcd.URL, tlsfile.Files{Cert: good.Cert, Key: good.Key}), `--etcd-cafile`},
		{"wrong name", withTLS(server("elsewhere", time.Now().Add(year), "etcd.example"), all), `certificate.*name etcd in --etcd-endpoints as its certificate does`},
		{"expired", withTLS(server("old", time.Now().Add(-day), "127.0.0.1"), all), `expired.*check the clocks`},
		{"no client certificate", withTLS(tlsEtcd.URL, tlsfile.Files{CA: ca.File}), `does not take this host's certificate`},
		{"a foreign client certificate", withTLS(tlsEtcd.URL, other(stranger)), `does not take this host's certificate`},
		{"an expired client certificate", withTLS(tlsEtcd.URL, other(expired)), `does not take this host's certificate`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Prefix = "/net"
			s := newTestStore(t, tt.o, defaults(0))
			each(t, s, func(name string, call func(context.Context) error) {
				err := call(t.Context())
				wantFailure(t, name, err, tt.o.Endpoints[0], "")
				if err != nil && !regexp.MustCompile(tt.want).MatchString(err.Error()) {
					t.Errorf("%s: %v\nwant %s", name, err, tt.want)
				}
			})
		})
	}
}

// An authority is enough where etcd wants no certificate. Release 0.28.9 connects in plain
// text then, and hangs.
func TestAnAuthorityAloneIsEnough(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := tlstest.New(t, dir, "ca", time.Now().Add(10*year))
	p := ca.Issue(t, "etcd", time.Now().Add(year), year, "127.0.0.1")
	url := etcdproc.StartProc(t, "--cert-file="+p.Cert, "--key-file="+p.Key).URL
	s := newTestStore(t, follows(t, url, tlsfile.Files{CA: ca.File}, slog.New(slog.DiscardHandler)), defaults(0))
	l := mustCreate(t, s, 1)
	storetest.Watch(t, s, l.Rev-1).Event(t, l.Key())
}

func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := tlstest.New(t, dir, "ca", time.Now().Add(10*year))
	etcd := secure(t, ca)
	old := ca.Issue(t, "client", time.Now().Add(time.Hour), year)
	log := new(logtest.Buffer)
	s := newTestStore(t, follows(t, etcd.URL, tlsfile.Files{Cert: old.Cert, Key: old.Key, CA: ca.File}, log.Logger()), defaults(0))
	a := mustCreate(t, s, 1)
	w := storetest.Watch(t, s, a.Rev-1)
	w.Event(t, a.Key())

	// One that etcd refuses: the watch goes on by the connection that it has.
	ca.Issue(t, "client", time.Now().Add(-day), year)
	s.api.members.access.Refused() // as if five seconds had passed
	_, _, err := s.Leases(t.Context())
	wantFailure(t, "Leases", err, etcd.URL, "does not take this host's certificate")
	other := newTestStore(t, follows(t, etcd.URL, tlsfile.Files{Cert: ca.Issue(t, "other", time.Now().Add(year), year).Cert, Key: dir + "/other.key", CA: ca.File}, slog.New(slog.DiscardHandler)), defaults(0))
	w.Event(t, mustCreate(t, other, 2).Key())

	// A good one is used after a refusal, whatever the time.
	ca.Issue(t, "client", time.Now().Add(year), year)
	wantLeasesSoon(t, s, "a good certificate")

	// Etcd comes back with a certificate of another authority.
	next := tlstest.New(t, dir, "next", time.Now().Add(10*year))
	p := next.Issue(t, "etcd-next", time.Now().Add(year), year, "127.0.0.1")
	etcd.Stop()
	again, err := etcdproc.Run(t.Context(), etcd.Dir, "--cert-file="+p.Cert, "--key-file="+p.Key, "--client-cert-auth", "--trusted-ca-file="+ca.File)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Stop)
	_, _, err = s.Leases(t.Context())
	wantFailure(t, "Leases", err, etcd.URL, "--etcd-cafile")
	b, err := os.ReadFile(next.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca.File, b, 0o600); err != nil {
		t.Fatal(err)
	}
	wantLeasesSoon(t, s, "a new authority")
	if n := strings.Count(log.String(), "they are used for new connections"); n != 3 {
		t.Errorf("%d changes in the log, want 3:\n%s", n, log)
	}
}

// wantLeasesSoon gives a change of files a few calls to be noticed: a connection may
// be on its way that began with the old ones.
func wantLeasesSoon(t *testing.T, s *Store, with string) {
	t.Helper()
	var err error
	for range 5 {
		if _, _, err = s.Leases(t.Context()); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("Leases with %s: %v", with, err)
}

// pass is a password that changes, as a file's does.
type pass struct {
	mu            sync.Mutex
	now, refusals string
}

func (p *pass) value() string { p.mu.Lock(); defer p.mu.Unlock(); return p.now }
func (p *pass) refused() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refusals != "" {
		p.now = p.refusals
	}
}

// withUsers runs an etcd that has users. The host's role is what docs/etcd.md says. Root
// returns root's client, a new one each time: client/v3 does not get over the end of a
// token of etcd 3.4, but asks for another one with the old one, for ever.
func withUsers(t *testing.T, args ...string) (url string, root func() *clientv3.Client) {
	t.Helper()
	url = etcdproc.StartProc(t, args...).URL
	c := byHand(t, url)
	ctx := t.Context()
	check := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for user, password := range map[string]string{"root": "rootpass", "host": "first", "guest": "guest"} {
		check(c.UserAdd(ctx, user, password))
	}
	check(c.RoleAdd(ctx, "root"))
	check(c.UserGrantRole(ctx, "root", "root"))
	check(c.RoleAdd(ctx, "net"))
	check(c.RoleGrantPermission(ctx, "net", "/net/config", "", clientv3.PermissionType(clientv3.PermRead)))
	check(c.RoleGrantPermission(ctx, "net", "/net/subnets/", clientv3.GetPrefixRangeEnd("/net/subnets/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	check(c.UserGrantRole(ctx, "host", "net"))
	check(c.RoleAdd(ctx, "reader"))
	check(c.RoleGrantPermission(ctx, "reader", "/net/", clientv3.GetPrefixRangeEnd("/net/"), clientv3.PermissionType(clientv3.PermRead)))
	check(c.UserAdd(ctx, "reader", "reader"))
	check(c.UserGrantRole(ctx, "reader", "reader"))
	check(c.AuthEnable(ctx))
	return url, func() *clientv3.Client {
		root, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, Username: "root", Password: "rootpass", DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { root.Close() })
		return root
	}
}

func TestUsersOfARealEtcd(t *testing.T) {
	t.Parallel()
	url, root := withUsers(t)
	for _, tt := range []struct{ name, user, password string }{
		{"no user", "", ""}, {"a wrong password", "host", "wrong"}, {"no such user", "nobody", "first"}, {"a user without the right", "guest", "guest"},
	} {
		s := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net", Access: etcd.Access{Username: tt.user, Password: func() string { return tt.password }}}, defaults(0))
		for name, call := range methods(s) {
			wantFailure(t, tt.name+": "+name, call(t.Context()), url, "check --etcd-username and its password")
		}
	}

	p := &pass{now: "first"}
	s := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net", Access: etcd.Access{Username: "host", Password: p.value, Refused: p.refused}}, defaults(0))
	if _, err := root().Put(t.Context(), "/net/config", "{}"); err != nil {
		t.Fatal(err)
	}
	if doc, err := s.Config(t.Context()); err != nil || string(doc.Raw) != "{}" {
		t.Errorf("Config = %q, %v", doc.Raw, err)
	}
	l := mustCreate(t, s, 1)
	w := storetest.Watch(t, s, l.Rev-1)
	w.Event(t, l.Key())
	if _, quiet, err := s.Refresh(t.Context(), l, time.Hour); err != nil || !quiet {
		t.Errorf("Refresh: %t, %v", quiet, err)
	}
	// The password is changed in etcd, which ends the token, then in the file.
	if _, err := root().UserChangePassword(t.Context(), "host", "second"); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Leases(t.Context())
	wantFailure(t, "Leases", err, url, "check --etcd-username and its password")
	p.mu.Lock()
	p.refusals = "second"
	p.mu.Unlock()
	if _, err := s.Create(t.Context(), lease(2), time.Hour); err != nil {
		t.Errorf("Create when the file has the new password: %v", err)
	}
	if err := s.Delete(t.Context(), l); err != nil {
		t.Errorf("Delete: %v", err)
	}
	// Users are switched off, and on again.
	if _, err := root().AuthDisable(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net", Access: etcd.Access{Username: "host", Password: p.value}}, defaults(0))
	if _, _, err := again.Leases(t.Context()); err != nil {
		t.Errorf("Leases where nobody asks for a user: %v", err)
	}
	if _, err := byHand(t, url).AuthEnable(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Store{"before": s, "meanwhile": again} {
		if _, _, err := s.Leases(t.Context()); err != nil {
			t.Errorf("Leases of who came %s: %v", name, err)
		}
	}
}

// A host that may not write tries for ever, and leaves nothing in etcd.
func TestAUserWhoMayNotWriteLeavesNoEtcdLease(t *testing.T) {
	t.Parallel()
	url, root := withUsers(t)
	s := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net", Access: etcd.Access{Username: "reader", Password: func() string { return "reader" }}}, defaults(0))
	seen := etcdAsSeen{root(), t}
	foreign := seen.grant(time.Hour)
	seen.put("/net/subnets/10.5.2.0-24", encoded(t, lease(2)), foreign)
	leases, _, err := s.Leases(t.Context())
	if err != nil || len(leases) != 1 {
		t.Fatalf("Leases = %v, %v", leases, err)
	}
	for range 2 {
		_, err := s.Create(t.Context(), lease(1), time.Hour)
		wantFailure(t, "Create", err, url, "check --etcd-username and its password")
		_, err = s.Renew(t.Context(), leases[0], lease(2), time.Hour)
		wantFailure(t, "Renew", err, url, "check --etcd-username and its password")
		_, _, err = s.Refresh(t.Context(), leases[0], time.Hour)
		wantFailure(t, "Refresh", err, url, "check --etcd-username and its password")
	}
	if all := seen.leases(); len(all) != 1 || all[foreign] == 0 {
		t.Errorf("etcd has the leases %v; want that of somebody else alone", all)
	}
}

// Tokens end when they were not used for a while, and all at once when etcd starts again.
func TestTokensThatHaveExpired(t *testing.T) {
	t.Parallel()
	url, root := withUsers(t, "--auth-token-ttl=2")
	s := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net", Access: etcd.Access{Username: "host", Password: func() string { return "first" }}}, defaults(0))
	l := mustCreate(t, s, 1)
	w := storetest.Watch(t, s, l.Rev)
	for range 2 {
		time.Sleep(3500 * time.Millisecond) // nothing tells that a token has ended
		var err error
		if l, _, err = s.Refresh(t.Context(), l, time.Hour); err != nil {
			t.Errorf("Refresh: %v", err)
		}
	}
	time.Sleep(3500 * time.Millisecond)
	other := storetest.Watch(t, s, l.Rev)
	if _, err := root().Put(t.Context(), "/net/subnets/10.5.2.0-24", encoded(t, lease(2))); err != nil {
		t.Fatal(err)
	}
	other.Event(t, lease(2).Key())
	w.Event(t, lease(2).Key())
	if _, err := s.Renew(t.Context(), l, l, time.Hour); err != nil {
		t.Errorf("Renew: %v", err)
	}
}

// A wrong endpoint beside a good one is ignored, whatever is wrong with it.
func TestABadEndpointIsLeftForAnother(t *testing.T) {
	t.Parallel()
	good := etcdproc.Start(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, bad := range []string{"http://127.0.0.1:1", "http://" + silent.Addr().String(), strings.Replace(good, "http", "https", 1), "http://etcd.invalid:2379"} {
		for range 4 { // the first one is any
			times := defaults(0)
			times.answer, times.dial = 500*time.Millisecond, 500*time.Millisecond
			s := newTestStore(t, Options{Endpoints: []string{bad, good}, Prefix: "/net"}, times)
			start := time.Now()
			if _, _, err := s.Leases(t.Context()); err != nil {
				t.Errorf("Leases beside %s: %v", bad, err)
			}
			if d := time.Since(start); d > times.answer+stall {
				t.Errorf("Leases beside %s: after %v", bad, d)
			}
			s.Close()
		}
	}
}

func TestEndpointsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, e := range [][]string{nil, {""}, {"127.0.0.1:2379"}, {"localhost:2379"}, {"ftp://a"}, {"http://"}} {
		if _, err := New(Options{Endpoints: e}); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("New for %q: %v", e, err)
		}
	}
}

func TestAStoreThatIsClosed(t *testing.T) {
	t.Parallel()
	s, _ := startSeen(t, Options{})
	l := mustCreate(t, s, 1)
	w := storetest.Watch(t, s, l.Rev)
	s.Close()
	if err := w.End(t, time.Second); err == nil {
		t.Error("the watch ends without an error")
	}
	for name, call := range methods(s) {
		if err := call(t.Context()); err == nil || !strings.Contains(err.Error(), "the store is closed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
