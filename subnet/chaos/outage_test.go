package chaos

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/logtest"
	"flanneld/subnet"
	"flanneld/subnet/memstore"
)

// What all hosts have lost, each takes back: the same subnet, also when new hosts
// want one at that moment.
func TestEveryHostTakesItsSubnetBack(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, *etcd){
		"all data wiped": func(t *testing.T, e *etcd) {
			e.kill(0, 1, 2)
			for i := range 3 {
				if err := e.proc(i).Wipe(); err != nil {
					t.Fatal(err)
				}
			}
			e.again(0, 1, 2)
		},
		"the directory deleted": func(t *testing.T, e *etcd) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, e.urls[0]+"/v2/keys"+prefix+"/subnets?recursive=true", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEtcd(t, 3)
			f := newFleet(t, e, 256, subnet.DefaultTTL)
			close(f.follow)
			before, _ := f.start(1, hosts, time.Minute)
			time.Sleep(time.Second) // they know each other
			lose(t, e)
			lost := time.Now()
			store := f.store(identity{Number: 100, Endpoints: e.urls})
			for {
				after, _, err := store.Leases(t.Context())
				if err == nil && len(after) >= len(before) {
					for _, l := range before {
						if !has(after, l) {
							t.Errorf("%s has another subnet than %s", l.V4.PublicIP, l.Key())
						}
					}
					t.Logf("all are back after %v", time.Since(lost).Round(time.Millisecond))
					return
				}
				if time.Since(lost) > 20*time.Second {
					t.Fatalf("%d of %d leases are back after %v; %v", len(after), len(before), time.Since(lost), err)
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
}

func has(all []subnet.Lease, l subnet.Lease) bool {
	for _, m := range all {
		if m.SameClaim(l) && m.Node == l.Node {
			return true
		}
	}
	return false
}

// cut is a store that can be made to fail, or to hang for as long as a call may
// last.
type cut struct {
	subnet.Store
	off   atomic.Bool
	hangs time.Duration // how long a call lasts before it fails
}

var errCut = errors.New("dial tcp 192.0.2.1:2379: connect: connection refused")

func (c *cut) fail(ctx context.Context) error {
	if !c.off.Load() {
		return nil
	}
	pause(ctx, c.hangs)
	return errCut
}

func (c *cut) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	if err := c.fail(ctx); err != nil {
		return nil, 0, err
	}
	return c.Store.Leases(ctx)
}

func (c *cut) Refresh(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, bool, error) {
	if err := c.fail(ctx); err != nil {
		return l, false, err
	}
	return c.Store.Refresh(ctx, l, ttl)
}

func (c *cut) Watch(ctx context.Context, after subnet.Revision) iter.Seq2[subnet.Event, error] {
	return func(yield func(subnet.Event, error) bool) {
		ctx, end := context.WithCancel(ctx)
		defer end()
		go func() { // connections break with the store
			for !c.off.Load() && ctx.Err() == nil {
				pause(ctx, 100*time.Millisecond)
			}
			end()
		}()
		for e, err := range c.Store.Watch(ctx, after) {
			if c.off.Load() {
				err = errCut
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Whenever in a lease's life it begins, and however it fails, ten minutes of an
// outage are fewer than twenty lines, and the first comes soon.
func TestTenMinutesOfOutageAreFewLines(t *testing.T) {
	for name, hangs := range map[string]time.Duration{"refused": 0, "hung": 8 * time.Second} {
		for _, after := range []time.Duration{time.Minute, 50 * time.Minute} { // the latter with renewals
			t.Run(name+" after "+after.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var out logtest.Buffer
					log := slog.New(slog.NewTextHandler(&out, nil))
					ctx, end := context.WithCancel(t.Context())
					store := &cut{Store: memstore.New(), hangs: hangs}
					id := identity{Number: 1}
					r := subnet.Request{Config: network(20), Lease: id.lease()}
					got, err := subnet.Acquire(ctx, store, r, log)
					if err != nil {
						t.Fatal(err)
					}
					view := subnet.NewView()
					view.Reset(got.Seen)
					var tasks sync.WaitGroup
					tasks.Go(func() { _ = subnet.Follow(ctx, store, view, got.Seen.Rev, log) })
					tasks.Go(func() {
						if err := subnet.Hold(ctx, store, got.Lease, subnet.Holding{View: view, Log: log, Sent: got.Sent, Clock: fakeClock}); err != nil {
							t.Error(err)
						}
					})
					time.Sleep(after)
					before := strings.Count(out.String(), "\n")
					store.off.Store(true)
					began := time.Now()
					for !strings.Contains(out.String(), "ERROR") {
						if time.Since(began) > 15*time.Second {
							t.Error("nothing is said of the outage for 15 s")
							break
						}
						time.Sleep(time.Second)
					}
					time.Sleep(10*time.Minute - time.Since(began))
					lines := strings.Count(out.String(), "\n") - before
					t.Logf("%d lines", lines)
					if lines == 0 || lines >= 20 {
						t.Errorf("%d lines in ten minutes of outage:\n%s", lines, out.String())
					}
					end()
					tasks.Wait()
				})
			})
		}
	}
}

// fakeClock is a clock in a bubble of testing/synctest.
func fakeClock() (time.Duration, time.Time) {
	return time.Since(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)), time.Now()
}
