package boot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/glog"
	"flanneld/pkg/statedir"
	"flanneld/subnet"
	"flanneld/subnet/cache"
	"flanneld/subnet/config"
	"flanneld/subnet/etcdapi"
)

const knownDoc = `{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}}`

// accept knows one type of backend.
func accept(cfg config.Config) error {
	if cfg.Type != "vxlan" {
		return errors.New("unknown backend type: " + cfg.Type)
	}
	return nil
}

// cached is a Cache with content, and its log.
func cached(t *testing.T, change func(*cache.Known)) (*Cache, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	m := &Cache{Dir: statedir.Memory(), Path: "/var/lib/flannel", Host: cache.Host{Node: "n", Prefix: "/p"}, BootID: "b",
		Log: slog.New(glog.New(&log, nil))}
	own := subnet.Lease{V4: subnet.Claim{Subnet: netip.MustParsePrefix("10.1.2.0/24"), PublicIP: netip.MustParseAddr("192.0.2.1")},
		Type: "vxlan", Expires: m.now().Wall.Add(24 * time.Hour), Rev: 5}
	k := cache.Known{Host: m.Host, Config: config.Document{Raw: []byte(knownDoc), Rev: 3}, Own: own, Sent: m.now().Add(-time.Hour),
		Until: m.now().Add(time.Hour), Saved: m.now()}
	change(&k)
	data, err := k.Encode()
	if err == nil {
		err = m.Dir.Save(cache.File, data)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m, &log
}

// configStore answers Config after a while.
type configStore struct {
	subnet.Store
	after time.Duration
	doc   config.Document
	err   error
}

func (s configStore) Config(ctx context.Context) (config.Document, error) {
	select {
	case <-ctx.Done():
		return config.Document{}, ctx.Err()
	case <-time.After(s.after):
		return s.doc, s.err
	}
}

func (s configStore) AwaitConfig(ctx context.Context, _ subnet.Revision) (config.Document, error) {
	<-ctx.Done()
	return config.Document{}, ctx.Err()
}

var errRefused = errors.New("connection refused")

func bootOf(store subnet.Store, c *Cache) *Boot {
	return &Boot{Store: store, Cache: c, Began: time.Now(), Waits: func(string) {},
		Reader: config.Reader{Source: store, Accept: accept, Log: c.Log}}
}

func recall(c *Cache, running []byte) (*cache.Known, config.Config) {
	return c.recall(noAnswer, errRefused, running, bootOf(nil, c).Reader.Read)
}

func TestBegin(t *testing.T) {
	here := config.Document{Raw: []byte(knownDoc), Rev: 9}
	for name, row := range map[string]struct {
		store  configStore
		change func(*cache.Known)
		known  bool
		took   time.Duration // zero: it waits for longer than is looked
		log    string        // one line has it; empty: there is none
	}{
		"etcd answers":          {configStore{after: 200 * time.Millisecond, doc: here}, nil, false, 200 * time.Millisecond, ""},
		"etcd refuses":          {configStore{err: errRefused}, nil, true, 1, "starting from what this host knew of the cluster subnet=10.1.2.0/24 peers=0"},
		"etcd is silent":        {configStore{after: time.Hour}, nil, true, configPatience, "etcd has not answered within 500ms"},
		"etcd is slow, no use":  {configStore{after: time.Second, doc: here}, func(k *cache.Known) { k.Host.Node = "m" }, false, time.Second, "another host's"},
		"etcd has no config":    {configStore{doc: config.Document{Rev: 1}, err: config.ErrNone}, nil, true, 1, "etcd has no configuration that can be used; starting from what"},
		"etcd has a wrong one":  {configStore{doc: config.Document{Raw: []byte("{"), Rev: 1}}, nil, true, 1, "etcd has no configuration that can be used; starting from what"},
		"no config in time":     {configStore{after: time.Second, doc: config.Document{Rev: 1}, err: config.ErrNone}, nil, true, configPatience, "etcd does not answer; starting from what"},
		"past the deadline":     {configStore{after: time.Second, doc: here}, func(k *cache.Known) { k.Until = k.Saved }, false, time.Second, "file=/var/lib/flannel/cluster reason=\"its lease on 10.1.2.0/24 may have ended"},
		"a backend that is not": {configStore{after: time.Second, doc: here}, func(k *cache.Known) { k.Config.Raw = []byte(`{"Network":"10.1.0.0/16","Backend":{"Type":"x"}}`) }, false, time.Second, "unknown backend type"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if row.change == nil {
					row.change = func(*cache.Known) {}
				}
				m, log := cached(t, row.change)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				start := time.Now()
				o, err := bootOf(row.store, m).config(ctx)
				took := max(time.Since(start), 1)
				if row.took == 0 {
					if err == nil {
						t.Errorf("config = %+v, want it to wait", o)
					}
				} else if err != nil || took != row.took || (o.Known != nil) != row.known || string(o.Document.Raw) != knownDoc || o.Config.Type != "vxlan" {
					t.Errorf("config = %+v, %v after %s", o, err, took)
				}
				if known := o.Rev() == 0; err == nil && known != row.known {
					t.Errorf("revision to follow from is %d", o.Rev())
				}
				if n := strings.Count(log.String(), "\n"); row.log == "" && n != 0 || row.log != "" && (n != 1 || !strings.Contains(log.String(), row.log)) {
					t.Errorf("log is %q, want one line with %q", log, row.log)
				}
			})
		})
	}
}

func TestBeginWithoutACacheSaysNothingOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m := &Cache{Dir: statedir.Memory(), Log: slog.New(glog.New(&log, nil))}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := bootOf(configStore{err: errRefused}, m).config(ctx); err == nil || strings.Count(log.String(), "config: connection refused\n") != 2 || strings.Count(log.String(), "\n") != 2 {
			t.Errorf("config: %v; log is %q, want that etcd is away, in the words of two releases", err, &log)
		}
	})
}

func TestRecallWantsTheRunningConfiguration(t *testing.T) {
	m, log := cached(t, func(*cache.Known) {})
	if k, _ := recall(m, []byte(knownDoc)); k == nil {
		t.Errorf("it is refused: %s", log)
	}
	if k, _ := recall(m, []byte(`{}`)); k != nil || !strings.Contains(log.String(), "of another configuration") {
		t.Errorf("it is used: %s", log)
	}
}

func TestACacheIsOfOneAddress(t *testing.T) {
	for _, row := range []struct {
		v4, v6 string
		want   bool
	}{{"192.0.2.1", "", true}, {"192.0.2.2", "", false}, {"192.0.2.1", "2001:db8::1", false}} {
		m, log := cached(t, func(*cache.Known) {})
		k, _ := recall(m, nil)
		at := Addrs{V4: netip.MustParseAddr(row.v4)}
		if row.v6 != "" {
			at.V6 = netip.MustParseAddr(row.v6)
		}
		if got := m.fits(k, at); got != row.want || !row.want != strings.Contains(log.String(), "it is of a host at") {
			t.Errorf("fits %v is %t; log is %s", row, got, log)
		}
		if k, _ := recall(m, nil); (k != nil) != row.want {
			t.Errorf("recalled again: %t", k != nil)
		}
	}
}

// A lease that goes on has the same life left, whatever clock that was told by.
func TestResumeKeepsTheDeadline(t *testing.T) {
	for name, boot := range map[string]string{"same boot": "b", "after a reboot": "c"} {
		t.Run(name, func(t *testing.T) {
			m, _ := cached(t, func(*cache.Known) {})
			m.BootID = boot
			k, _ := recall(m, nil)
			got := m.resume(k)
			life := k.Until.Since - k.Sent.Since
			if left := got.Sent + life - m.now().Since; left > time.Hour || left < time.Hour-time.Minute {
				t.Errorf("%s are left", left)
			}
			if got.Lease != k.Own || len(got.Seen.Leases) != 1 || got.Seen.Rev != 0 {
				t.Errorf("resumed %+v", got)
			}
		})
	}
}

// listStore answers Leases after a while.
type listStore struct {
	subnet.Store
	after  time.Duration
	err    error
	leases func() []subnet.Lease // nil: there are none
}

func (s listStore) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	select {
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	case <-time.After(s.after):
	}
	if s.leases == nil {
		return nil, 1, s.err
	}
	return s.leases(), 1, s.err
}

// A store that answers with the configuration and then no more is away as well.
func TestLeaseGoesOnWithoutAListing(t *testing.T) {
	for name, row := range map[string]struct {
		store listStore
		doc   string
		took  time.Duration // zero: it is not taken from what is known
	}{
		"refused":               {listStore{err: errRefused}, knownDoc, 1},
		"silent":                {listStore{after: time.Hour}, knownDoc, leasesPatience},
		"another configuration": {listStore{after: time.Hour}, `{"Network":"10.1.0.0/16"}`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, log := cached(t, func(*cache.Known) {})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				b := bootOf(row.store, m)
				o := Origin{Document: config.Document{Raw: []byte(row.doc), Rev: 9}}
				got, err := b.Lease(ctx, &o, Addrs{V4: netip.MustParseAddr("192.0.2.1")}, acquire)
				if took := max(time.Since(b.Began), 1); row.took == 0 {
					if err == nil || !strings.Contains(log.String(), "it is of another configuration") {
						t.Errorf("Lease = %+v; log is %s", got, log)
					}
				} else if err != nil || took != row.took || got.Lease.Key().String() != "10.1.2.0/24" || got.Seen.Rev != 0 || o.Rev() != 0 {
					t.Errorf("Lease = %+v, %v after %s", got, err, took)
				}
			})
		})
	}
}

// acquire lists the leases, as subnet.Acquire does first.
func acquire(ctx context.Context, store subnet.Store) (subnet.Acquired, error) {
	leases, rev, err := store.Leases(ctx)
	return subnet.Acquired{Seen: subnet.Snapshot{Leases: leases, Rev: rev}}, err
}

// A store that answers in time is not asked for its leases twice, but for those after
// the first time.
func TestLeaseListsOnce(t *testing.T) {
	m, _ := cached(t, func(*cache.Known) {})
	asked := 0
	store := listStore{leases: func() []subnet.Lease { asked++; return []subnet.Lease{{}} }}
	o := Origin{Document: config.Document{Raw: []byte(knownDoc), Rev: 9}}
	var listed subnet.Store
	got, err := bootOf(store, m).Lease(t.Context(), &o, Addrs{}, func(ctx context.Context, s subnet.Store) (subnet.Acquired, error) {
		listed = s
		return acquire(ctx, s)
	})
	if err != nil || asked != 1 || len(got.Seen.Leases) != 1 || got.Seen.Rev != 1 || o.Known != nil {
		t.Fatalf("Lease = %+v, %v after %d listings", got, err, asked)
	}
	if _, _, err := listed.Leases(t.Context()); err != nil || asked != 2 {
		t.Errorf("the second listing is the first one's: asked %d times, %v", asked, err)
	}
}

func TestHeardTellsOfTheFirstAnswer(t *testing.T) {
	heard := 0
	store := &struct{ subnet.Store }{listStore{err: errRefused}}
	l := Heard(store, func() { heard++ })
	_, _, _ = l.Leases(t.Context())
	if heard != 0 {
		t.Error("an error is no answer")
	}
	store.Store = listStore{}
	for range 2 {
		_, _, _ = l.Leases(t.Context())
	}
	if heard != 1 {
		t.Errorf("it was told %d times", heard)
	}
}

// An answer is an answer, if it comes in the moment in which the patience ends.
func TestAListingThatIsThereIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := cached(t, func(*cache.Known) {})
		store := listStore{leases: func() []subnet.Lease {
			time.Sleep(2 * leasesPatience)
			return []subnet.Lease{{}}
		}}
		o := Origin{Document: config.Document{Raw: []byte(knownDoc), Rev: 9}}
		got, err := bootOf(store, m).Lease(t.Context(), &o, Addrs{V4: netip.MustParseAddr("192.0.2.1")}, acquire)
		if err != nil || len(got.Seen.Leases) != 1 || o.Known != nil {
			t.Errorf("Lease = %+v, %v, and goes on with what was known: %t", got, err, o.Known != nil)
		}
	})
}

// What is known of other hosts counts for as long as their leases, also when the own lease
// has ended.
func TestLeasesAreThoseThatHaveNotEnded(t *testing.T) {
	peer := func(n byte, expires time.Duration) subnet.Lease {
		public := netip.AddrFrom4([4]byte{192, 0, 2, n})
		return subnet.Lease{V4: subnet.Claim{Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, n, 0}), 24), PublicIP: public},
			Type: "vxlan", Expires: time.Now().Add(expires)}
	}
	reserved := peer(7, 0)
	reserved.Expires = time.Time{}
	m, _ := cached(t, func(k *cache.Known) {
		k.Until = k.Saved
		k.Peers = []subnet.Lease{peer(5, time.Hour), peer(6, -time.Hour), reserved}
	})
	if all := m.Leases(); len(all) != 3 || all[0].V4.Subnet.String() != "10.1.5.0/24" || all[1] != reserved {
		t.Errorf("leases are %v", all)
	}
	if m.Host.Node = "another"; m.Leases() != nil {
		t.Error("it has leases that another host knew")
	}
	m.Dir = statedir.Memory()
	if m.Leases() != nil {
		t.Error("without a cache it has leases")
	}
}

// api is a Choice that may be decided.
type api struct{ is etcdapi.API }

func (a *api) Decided() etcdapi.API { return a.is }

func (a *api) Resume(last etcdapi.API) error {
	if a.is == "" {
		a.is = last
	}
	if a.is != last {
		return errors.New("it is of etcd's other API")
	}
	return nil
}

func TestAStartWithoutEtcdGoesOnWithTheAPIOfBefore(t *testing.T) {
	at := Addrs{V4: netip.MustParseAddr("192.0.2.1")}
	for name, row := range map[string]struct {
		file    string
		decided etcdapi.API
		at      Addrs
		want    etcdapi.API
		fits    bool
	}{
		"v3":                        {"v3", "", at, "v3", true},
		"v2":                        {"v2", "", at, "v2", true},
		"a file that names none":    {"", "", at, "v2", true},
		"as the flag says":          {"v3", "v3", at, "v3", true},
		"not as the flag says":      {"v2", "v3", at, "v3", false},
		"not if the host has moved": {"v3", "", Addrs{V4: netip.MustParseAddr("192.0.2.2")}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			m, log := cached(t, func(k *cache.Known) { k.API = row.file })
			choice := &api{row.decided}
			m.API = choice
			if last := m.LastAPI(); last != etcdapi.API(cmp.Or(row.file, "v2")) {
				t.Errorf("the last one was %q", last)
			}
			k, _ := recall(m, nil)
			if k == nil || m.fits(k, row.at) != row.fits || choice.is != row.want {
				t.Errorf("known %v; it is %q; log %s", k, choice.is, log)
			}
			if !row.fits && !strings.Contains(log.String(), "cannot be used; waiting for etcd") {
				t.Errorf("log is %s", log)
			}
		})
	}
}

// In another API the same leases have other revisions, and ours may be another host's.
func TestLeasesOfAnotherAPIHaveNoRevision(t *testing.T) {
	for is, want := range map[etcdapi.API]int{"v2": 2, "v3": 1} {
		m, _ := cached(t, func(k *cache.Known) {
			k.Peers = []subnet.Lease{k.Own}
			k.Peers[0].V4.Subnet, k.Peers[0].Rev = netip.MustParsePrefix("10.1.5.0/24"), 4
		})
		m.API = &api{is}
		all := m.Leases()
		if len(all) != want || all[0].Key().String() != "10.1.5.0/24" || (all[0].Rev == 0) != (is == "v3") {
			t.Errorf("%s: leases are %v", is, all)
		}
	}
}

func TestWhatIsKeptNamesTheAPI(t *testing.T) {
	m, _ := cached(t, func(*cache.Known) {})
	m.API = &api{"v3"}
	k, ok := m.Known(subnet.Standing{State: subnet.Held, Lease: subnet.Lease{Node: "n"}, Deadline: 1}, config.Document{}, nil)
	if !ok || k.API != "v3" {
		t.Errorf("kept %+v, %t", k, ok)
	}
	if m.Dir = statedir.Memory(); m.LastAPI() != "" {
		t.Error("without a cache there is a last API")
	}
}
