package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/backend"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/glog"
	"flanneld/pkg/statedir"
	"flanneld/pkg/wake"
	"flanneld/subnet"
	"flanneld/subnet/cache"
	"flanneld/subnet/config"
)

const knownDoc = `{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}}`

// beginning is a memory with a cache, and its log.
func beginning(t *testing.T, change func(*cache.Known)) (*memory, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	m := &memory{dir: statedir.Memory(), path: "/var/lib/flannel", host: cache.Host{Node: "n", Prefix: "/p"}, boot: "b",
		log: slog.New(glog.New(&log, nil))}
	own := subnet.Lease{V4: subnet.Claim{Subnet: netip.MustParsePrefix("10.1.2.0/24"), PublicIP: netip.MustParseAddr("192.0.2.1")},
		Type: "vxlan", Expires: m.now().Wall.Add(24 * time.Hour), Rev: 5}
	k := cache.Known{Host: m.host, Config: config.Document{Raw: []byte(knownDoc), Rev: 3}, Own: own, Sent: m.now().Add(-time.Hour),
		Until: m.now().Add(time.Hour), Saved: m.now()}
	change(&k)
	data, err := k.Encode()
	if err == nil {
		err = m.dir.Save(cache.File, data)
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
		"etcd has no config":    {configStore{doc: config.Document{Rev: 1}, err: config.ErrNone}, nil, false, 0, "Couldn't fetch network config"},
		"past the deadline":     {configStore{after: time.Second, doc: here}, func(k *cache.Known) { k.Until = k.Saved }, false, time.Second, "file=/var/lib/flannel/cluster reason=\"its lease on 10.1.2.0/24 may have ended"},
		"a backend that is not": {configStore{after: time.Second, doc: here}, func(k *cache.Known) { k.Config.Raw = []byte(`{"Network":"10.1.0.0/16","Backend":{"Type":"x"}}`) }, false, time.Second, "unknown backend type"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if row.change == nil {
					row.change = func(*cache.Known) {}
				}
				m, log := beginning(t, row.change)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				start := time.Now()
				b, err := begin(ctx, row.store, m, func(string) {})
				took := max(time.Since(start), 1)
				if row.took == 0 {
					if err == nil {
						t.Errorf("begin = %+v, want it to wait", b)
					}
				} else if err != nil || took != row.took || (b.known != nil) != row.known || string(b.doc.Raw) != knownDoc || b.cfg.Type != "vxlan" {
					t.Errorf("begin = %+v, %v after %s", b, err, took)
				}
				if known := b.rev() == 0; err == nil && known != row.known {
					t.Errorf("revision to follow from is %d", b.rev())
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
		m := &memory{dir: statedir.Memory(), log: slog.New(glog.New(&log, nil))}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := begin(ctx, configStore{err: errRefused}, m, func(string) {}); err == nil || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("begin: %v; log is %q, want that etcd is away", err, &log)
		}
	})
}

func TestRecallWantsTheRunningConfiguration(t *testing.T) {
	m, log := beginning(t, func(*cache.Known) {})
	if k, _ := m.recall(errRefused, []byte(knownDoc)); k == nil {
		t.Errorf("it is refused: %s", log)
	}
	if k, _ := m.recall(errRefused, []byte(`{}`)); k != nil || !strings.Contains(log.String(), "of another configuration") {
		t.Errorf("it is used: %s", log)
	}
}

func TestMemoryIsOfOneAddress(t *testing.T) {
	for _, row := range []struct {
		v4, v6 string
		want   bool
	}{{"192.0.2.1", "", true}, {"192.0.2.2", "", false}, {"192.0.2.1", "2001:db8::1", false}} {
		m, log := beginning(t, func(*cache.Known) {})
		k, _ := m.recall(errRefused, nil)
		u := backend.Underlay{PublicV4: netip.MustParseAddr(row.v4)}
		if row.v6 != "" {
			u.PublicV6 = netip.MustParseAddr(row.v6)
		}
		if got := m.isOf(k, u); got != row.want || !row.want != strings.Contains(log.String(), "it is of a host at") {
			t.Errorf("isOf %v is %t; log is %s", row, got, log)
		}
		if k, _ := m.recall(errRefused, nil); (k != nil) != row.want {
			t.Errorf("recalled again: %t", k != nil)
		}
	}
}

// A lease that goes on has the same life left, whatever clock that was told by.
func TestResumeKeepsTheDeadline(t *testing.T) {
	for name, boot := range map[string]string{"same boot": "b", "after a reboot": "c"} {
		t.Run(name, func(t *testing.T) {
			m, _ := beginning(t, func(*cache.Known) {})
			m.boot = boot
			k, _ := m.recall(errRefused, nil)
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
	after time.Duration
	err   error
}

func (s listStore) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	select {
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	case <-time.After(s.after):
		return nil, 1, s.err
	}
}

func (listStore) Moved() {}

// A store that answers with the configuration and then no more is away as well.
func TestTakeGoesOnWithoutAListing(t *testing.T) {
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
				m, log := beginning(t, func(*cache.Known) {})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				d := &daemon{board: status.NewBoard(func(string) {}), memory: m, store: row.store, log: m.log, began: time.Now(), claimsChanged: make(chan subnet.Lease, 1),
					wake: wake.New(), underlay: backend.Underlay{PublicV4: netip.MustParseAddr("192.0.2.1")},
					basis: basis{doc: config.Document{Raw: []byte(row.doc), Rev: 9}}}
				request := subnet.Request{Lease: subnet.Lease{V4: subnet.Claim{PublicIP: d.underlay.PublicV4}}}
				got, followed, err := d.take(ctx, subnet.ListAhead(ctx, row.store), &request)
				if took := max(time.Since(d.began), 1); row.took == 0 {
					if err == nil || !strings.Contains(log.String(), "it is of another configuration") {
						t.Errorf("take = %+v; log is %s", got, log)
					}
					return
				} else if err != nil || took != row.took || got.Lease.Key().String() != "10.1.2.0/24" || got.Seen.Rev != 0 || d.basis.rev() != 0 {
					t.Errorf("take = %+v, %v after %s", got, err, took)
				}
				if !d.board.Status().EtcdAway {
					t.Error("STATUS= does not say that etcd is away")
				}
				for _, answers := range []bool{false, true} {
					if followed.(*heard).Store = row.store; answers {
						followed.(*heard).Store = listStore{}
					}
					bound, cancel := context.WithTimeout(ctx, time.Second)
					_, _, _ = followed.Leases(bound)
					cancel()
					if d.board.Status().EtcdAway == answers {
						t.Errorf("after an answer (%t) it says that etcd is away: %t", answers, d.board.Status().EtcdAway)
					}
				}
			})
		})
	}
}
