package etcd2

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

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
func secure(t *testing.T, ca *tlstest.Authority, dir string) *etcdproc.Proc {
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
	tlsEtcd := secure(t, ca, dir)
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
		{"v2 on the v3 store", Options{Endpoints: []string{etcdproc.StartProc(t, "--experimental-enable-v2v3=/v2").URL}}, `TTLs are unsupported.*without --experimental-enable-v2v3`},
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
			together(methods(s), func(name string, call func(context.Context) error) {
				if strings.HasPrefix(tt.name, "v2 on") && name != "Create" {
					return // the rest works, or finds nothing
				}
				err := call(t.Context())
				wantFailure(t, name, err, strings.TrimPrefix(tt.o.Endpoints[0], "https://"), "")
				if err != nil && !regexp.MustCompile(tt.want).MatchString(err.Error()) {
					t.Errorf("%s: %v\nwant %s", name, err, tt.want)
				}
			})
		})
	}
}

// Which sentence it is depends on the etcd.
func TestAnEtcdWithoutTheV2APISaysWhatToDo(t *testing.T) {
	t.Parallel()
	etcdproc.EachRelease(t, func(t *testing.T, program etcdproc.Program) {
		t.Parallel()
		testWithoutTheV2API(t, program)
	})
}

func testWithoutTheV2API(t *testing.T, program etcdproc.Program) {
	url := program.Start(t, "--enable-v2=false").URL
	s := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net"}, defaults(0))
	want := regexp.MustCompile(`this etcd \d+\.\d+\.\d+ has the v2 API switched off: start it with --enable-v2=true|` +
		`etcd (3\.[6-9]|3\.\d\d|[4-9])\S* has no v2 API any more: give flanneld --etcd-api=v3, or use etcd 3\.4 or 3\.5`)
	together(methods(s), func(name string, call func(context.Context) error) {
		err := call(t.Context())
		wantFailure(t, name, err, url, "")
		if err != nil && !want.MatchString(err.Error()) {
			t.Errorf("%s: %v\nwant %s", name, err, want)
		}
	})
}

func TestEtcdsOfOtherVersionsAreNamed(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		for version, want := range map[string]string{
			"3.6.16": "etcd 3.6.16 has no v2 API any more: give flanneld --etcd-api=v3, or use etcd 3.4", "4.0.0": "no v2 API any more",
			"3.5.35": "this etcd 3.5.35 has the v2 API switched off", "\n": "what answers there is no etcd", "3.5.\nx": "this etcd 3.5. x has",
		} {
			f := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/version" {
					versions(version, "")(w, r)
				} else {
					http.NotFound(w, r)
				}
			})
			_, err := f.store(t).Config(t.Context())
			wantFailure(t, "Config", err, f.URL, want)
		}
	})
}

// A member whose v2 API is off is left for one that has it.
func TestAMemberWithoutTheAPIIsLeftForAnother(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		off := serve(t, http.NotFound)
		good := serve(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 5, 200, someNode) })
		for start := time.Now(); off.others.Load() == 0; time.Sleep(time.Millisecond) { // the client asks in an order of the clock
			if time.Since(start) > 20*time.Second {
				t.Fatal("it is never asked")
			}
			s := newTestStore(t, Options{Endpoints: []string{off.URL, good.URL}, Prefix: "/net"}, hasty())
			if _, err := s.Config(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestProbesAreFew(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		var mu sync.Mutex
		probes := 0
		f := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/version" {
				mu.Lock()
				defer mu.Unlock()
				probes++
			}
			http.NotFound(w, r)
		})
		s := f.store(t)
		for range 50 {
			s.Config(t.Context())
		}
		if probes != 1 {
			t.Errorf("%d probes in 50 calls, want one", probes)
		}
	})
}

func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := tlstest.New(t, dir, "ca", time.Now().Add(10*year))
	etcd := secure(t, ca, dir)
	old := ca.Issue(t, "client", time.Now().Add(time.Hour), year)
	log := new(lines)
	f := tlsfile.Files{Cert: old.Cert, Key: old.Key, CA: ca.File}
	s := newTestStore(t, follows(t, etcd.URL, f, log.logger()), defaults(0))
	a := mustCreate(t, s, 1)
	w := storetest.Watch(t, s, a.Rev-1)
	w.Event(t, a.Key())

	// One that etcd refuses: what is open goes on.
	ca.Issue(t, "client", time.Now().Add(-day), year)
	time.Sleep(time.Second) // the watch waits for its next event
	s.opts.Access.Refused() // as if five seconds had passed
	_, _, err := s.Leases(t.Context())
	wantFailure(t, "Leases", err, strings.TrimPrefix(etcd.URL, "https://"), "does not take this host's certificate")
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
	wantFailure(t, "Leases", err, strings.TrimPrefix(etcd.URL, "https://"), "--etcd-cafile")
	b, err := os.ReadFile(next.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca.File, b, 0o600); err != nil {
		t.Fatal(err)
	}
	wantLeasesSoon(t, s, "a new authority")
	if log.count("they are used for new connections") != 3 {
		t.Errorf("not three changes in the log:\n%s", &log.buf)
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

func etcdctl(t *testing.T, url string, args ...string) {
	t.Helper()
	c := exec.Command("etcdctl", append([]string{"--endpoints=" + url}, args...)...)
	c.Env = append(os.Environ(), "ETCDCTL_API=2")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("etcdctl %q: %v\n%s", args, err, out)
	}
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

func TestUsersOfARealEtcd(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("etcdctl"); err != nil {
		t.Skip("etcdctl is not installed (Debian: etcd-client)")
	}
	url := etcdproc.Start(t)
	root := "root:rootpass"
	etcdctl(t, url, "user", "add", root)
	etcdctl(t, url, "role", "add", "net")
	etcdctl(t, url, "role", "grant", "net", "-path", "/net/*", "-readwrite")
	etcdctl(t, url, "role", "add", "none")
	for user, role := range map[string]string{"host:first": "net", "guest:guest": "none"} {
		name, _, _ := strings.Cut(user, ":")
		etcdctl(t, url, "user", "add", user)
		etcdctl(t, url, "user", "grant", name, "-roles", role)
	}
	etcdctl(t, url, "auth", "enable")
	etcdctl(t, url, "-u", root, "role", "revoke", "guest", "-path", "/*", "-readwrite")

	for _, tt := range []struct{ name, user, password string }{
		{"no user", "", ""}, {"a wrong password", "host", "wrong"}, {"no such user", "nobody", "first"}, {"a user without the right", "guest", "guest"},
	} {
		s := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net", Access: etcd.Access{Username: tt.user, Password: func() string { return tt.password }}}, defaults(0))
		for name, call := range methods(s) {
			if name == "AwaitConfig" || name == "Watch" {
				continue // below
			}
			wantFailure(t, tt.name+": "+name, call(t.Context()), url, "check --etcd-username and its password")
		}
		_, err := watch(t.Context(), s, 5, 1)
		wantFailure(t, tt.name+": Watch", err, url, "check --etcd-username and its password")
	}

	p := &pass{now: "first"}
	s := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net", Access: etcd.Access{Username: "host", Password: p.value, Refused: p.refused}}, defaults(0))
	l := mustCreate(t, s, 1)
	w := storetest.Watch(t, s, l.Rev-1)
	w.Event(t, l.Key())
	if _, quiet, err := s.Refresh(t.Context(), l, time.Hour); err != nil || !quiet {
		t.Errorf("Refresh: %t, %v", quiet, err)
	}
	// The password is changed in etcd, then in the file.
	change(t, url, root, "host", "second")
	_, _, err := s.Leases(t.Context())
	wantFailure(t, "Leases", err, url, "check --etcd-username and its password")
	p.mu.Lock()
	p.refusals = "second"
	p.mu.Unlock()
	for name, call := range map[string]func() error{
		"Create": func() error { _, err := s.Create(t.Context(), lease(2), time.Hour); return err }, // with a body
		"Leases": func() error { _, _, err := s.Leases(t.Context()); return err },
	} {
		p.mu.Lock()
		p.now = "first"
		p.mu.Unlock()
		if err := call(); err != nil {
			t.Errorf("%s when the file has the new password: %v", name, err)
		}
	}
}

// change sets a user's password, which etcdctl asks a terminal for.
func change(t *testing.T, url, root, user, password string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPut, url+"/v2/auth/users/"+user, strings.NewReader(fmt.Sprintf(`{"user":%q,"password":%q}`, user, password)))
	if err != nil {
		t.Fatal(err)
	}
	name, pw, _ := strings.Cut(root, ":")
	r.SetBasicAuth(name, pw)
	r.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("change a password: %s", resp.Status)
	}
}

// Who answers with a redirect is not told the password for somebody else.
func TestPasswordsAreForTheEndpointsOnly(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		var mu sync.Mutex
		told := map[string]bool{}
		note := func(who string, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			_, _, ok := r.BasicAuth()
			told[who] = told[who] || ok
		}
		elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) {
			note("elsewhere", r)
			reply(w, 5, 200, someNode)
		})
		f := serve(t, func(w http.ResponseWriter, r *http.Request) {
			note("endpoint", r)
			http.Redirect(w, r, elsewhere.URL+r.URL.String(), http.StatusTemporaryRedirect)
		})
		s := newTestStore(t, Options{Endpoints: []string{f.URL}, Prefix: "/net", Access: etcd.Access{Username: "u", Password: func() string { return "p" }}}, hasty())
		if _, err := s.Config(t.Context()); err != nil {
			t.Error(err)
		}
		if !told["endpoint"] || told["elsewhere"] || elsewhere.others.Load() == 0 {
			t.Errorf("told the password: %v", told)
		}
	})
}
