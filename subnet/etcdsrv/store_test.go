package etcdsrv

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/memstore"
)

var errAway = errors.New("connection refused")

// cluster has an etcd at each endpoint.
type cluster struct {
	mu     sync.Mutex
	at     map[string]*member
	opened [][]string
}

type member struct {
	*memstore.Store
	away, closed, moved bool
}

func (m *member) Close()              { m.closed = true }
func (m *member) Moved()              { m.moved = true }
func (m *member) Tried() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.1")} }

func (c *cluster) open(endpoints []string) (Inner, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened = append(c.opened, endpoints)
	m := &member{Store: memstore.New()}
	m.Fail = func(string) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if m.away {
			return errAway
		}
		return nil
	}
	if c.at == nil {
		c.at = make(map[string]*member)
	}
	c.at[endpoints[0]] = m
	return m, nil
}

func lease() subnet.Lease {
	return subnet.Lease{V4: subnet.Claim{Subnet: netip.MustParsePrefix("10.1.1.0/24"), PublicIP: netip.MustParseAddr("192.0.2.1")}}
}

func TestTheStoreIsMadeAnewAtOtherEndpoints(t *testing.T) {
	var dns server
	dns.set(plain, "a.example.com")
	f, log := finder(t, &dns)
	var c cluster
	s := New(f, c.open)
	if s.Moved(); s.Tried() != nil {
		t.Error("it has tried something before it was used")
	}
	l, err := s.Create(t.Context(), lease(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// Others are named from now on. While these answer, they stay.
	dns.set(plain, "b.example.com")
	f.when = f.when.Add(-lookAgain)
	l.V4.PublicIP = netip.MustParseAddr("192.0.2.2")
	if _, err := s.Create(t.Context(), l, time.Hour); !errors.Is(err, subnet.ErrTaken) {
		t.Errorf("created twice: %v", err)
	}
	if _, err := s.Config(t.Context()); !errors.Is(err, config.ErrNone) {
		t.Error(err)
	}
	if all, _, err := s.Leases(t.Context()); err != nil || len(all) != 1 || len(c.opened) != 1 {
		t.Errorf("leases are %v, %v; opened %v", all, err, c.opened)
	}
	first := c.at["http://a.example.com:2379"]
	c.mu.Lock()
	first.away = true
	c.mu.Unlock()
	if _, _, err := s.Leases(t.Context()); !errors.Is(err, errAway) {
		t.Errorf("error %v", err)
	}
	if all, _, err := s.Leases(t.Context()); err != nil || len(all) != 0 || !first.closed {
		t.Errorf("at the other endpoint: %v, %v; the first is closed: %t", all, err, first.closed)
	}
	if want := [][]string{{"http://a.example.com:2379"}, {"http://b.example.com:2379"}}; !slices.EqualFunc(c.opened, want, slices.Equal) {
		t.Errorf("opened %v; log %s", c.opened, log)
	}
	s.Moved()
	if second := c.at["http://b.example.com:2379"]; !second.moved || len(s.Tried()) != 1 {
		t.Error("the second does not hear that the host has moved")
	}
	s.Close()
	if _, _, err := s.Leases(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestAWatchThatFailsHasTheEndpointsLookedUp(t *testing.T) {
	var dns server
	dns.set(plain, "a.example.com")
	f, _ := finder(t, &dns)
	var c cluster
	s := New(f, c.open)
	l, err := s.Create(t.Context(), lease(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range s.Watch(t.Context(), l.Rev-1) {
		if err != nil || e.Lease.Key() != l.Key() {
			t.Errorf("event %+v, %v", e, err)
		}
		break
	}
	c.mu.Lock()
	c.at["http://a.example.com:2379"].away = true
	c.mu.Unlock()
	for _, err := range s.Watch(t.Context(), l.Rev) {
		if !errors.Is(err, errAway) {
			t.Errorf("error %v", err)
		}
	}
	dns.set(plain, "b.example.com")
	f.when = f.when.Add(-lookAgain)
	if _, err := s.AwaitConfig(t.Context(), 0); !errors.Is(err, config.ErrNone) || len(c.opened) != 2 {
		t.Errorf("%v; opened %v", err, c.opened)
	}
}

// A caller that wants no answer any more has not found that etcd is away.
func TestACancelledCallIsNoFailure(t *testing.T) {
	var dns server
	dns.set(plain, "a.example.com")
	f, _ := finder(t, &dns)
	s := New(f, new(cluster).open)
	if _, _, err := s.Leases(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Leases(ctx); !errors.Is(err, context.Canceled) || s.failing {
		t.Errorf("%v; failing: %t", err, s.failing)
	}
}

// Each call says why there is nobody to ask, and the next one may find somebody.
func TestCallsFailUntilSomethingIsFound(t *testing.T) {
	f, _ := finder(t, new(server))
	var c cluster
	s := New(f, c.open)
	calls := map[string]func() error{
		"Config":      func() error { _, err := s.Config(t.Context()); return err },
		"AwaitConfig": func() error { _, err := s.AwaitConfig(t.Context(), 1); return err },
		"Leases":      func() error { _, _, err := s.Leases(t.Context()); return err },
		"Create":      func() error { _, err := s.Create(t.Context(), lease(), time.Hour); return err },
		"Renew":       func() error { _, err := s.Renew(t.Context(), lease(), lease(), time.Hour); return err },
		"Refresh":     func() error { _, _, err := s.Refresh(t.Context(), lease(), time.Hour); return err },
		"Delete":      func() error { return s.Delete(t.Context(), lease()) },
		"Watch": func() (err error) {
			for _, err = range s.Watch(t.Context(), 1) {
			}
			return err
		},
	}
	for name, call := range calls {
		if err := call(); err == nil || !strings.Contains(err.Error(), "there is neither a record _etcd-client-ssl._tcp.example.com") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var dns server
	dns.set(plain, "a.example.com")
	f.Resolver, f.when = dns.resolver(t), f.when.Add(-lookFirst)
	for name, call := range calls {
		if name == "AwaitConfig" || name == "Watch" {
			continue // they wait
		}
		if err := call(); err != nil && strings.Contains(err.Error(), "record") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(c.opened) != 1 {
		t.Errorf("opened %v", c.opened)
	}
}

// The system's resolver is asked without one.
func TestTheSystemsResolverIsTheDefault(t *testing.T) {
	f, _ := finder(t, new(server))
	f.Domain, f.Resolver = "invalid", nil // RFC 6761: nobody has it
	if _, err := f.Endpoints(t.Context(), false); err == nil || !strings.Contains(err.Error(), "--etcd-srv=invalid") {
		t.Errorf("error %v", err)
	}
}
