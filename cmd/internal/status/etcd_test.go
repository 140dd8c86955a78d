package status

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/backend/loop"
	"flanneld/subnet"
	"flanneld/subnet/memstore"
	"flanneld/subnet/storetest"
)

// To be observed changes nothing of what a store promises.
func TestObservedStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Harness {
		s := memstore.New()
		return storetest.Harness{
			Store: Observe(s, NewBoard(func(string) {})), SetConfig: s.SetConfig, DeleteConfig: s.DeleteConfig, PutRaw: s.PutTTL,
			DeleteRaw: s.Remove, DeleteDir: s.RemoveAll, Churn: s.Churn,
		}
	})
}

// faulty is a store whose leases cannot be read while there is an error, and whose watch
// yields one event and then ends with an error, if there is one, or waits.
type faulty struct {
	subnet.Store
	err, watch error
}

func (f *faulty) Leases(context.Context) ([]subnet.Lease, subnet.Revision, error) {
	return nil, 1, f.err
}

func (f *faulty) Watch(ctx context.Context, _ subnet.Revision) iter.Seq2[subnet.Event, error] {
	return func(yield func(subnet.Event, error) bool) {
		if !yield(subnet.Event{}, nil) {
			return
		}
		if f.watch == nil {
			<-ctx.Done()
			yield(subnet.Event{}, ctx.Err())
			return
		}
		yield(subnet.Event{}, f.watch)
	}
}

func TestEtcdHealthFollowsItsAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(func(string) {})
		f := new(faulty)
		s := Observe(f, b)
		resyncs := func(reason string) (n uint64) {
			for _, c := range b.Status().Counters {
				if c.Name == "watch_resyncs" && c.Labels["reason"] == reason {
					n = c.Value
				}
			}
			return n
		}
		watch := func(ctx context.Context, most int) {
			for range s.Watch(ctx, 1) {
				if most--; most == 0 {
					break
				}
			}
		}
		names := func() (all string) {
			for _, c := range b.Status().Counters {
				if c.Name == "watch_resyncs" || c.Name == "datapath_repairs" || c.Name == "etcd_requests" && c.Labels["result"] == "error" {
					all += fmt.Sprint(c.Name, c.Labels, "\n")
				}
			}
			return all
		}
		from := names()
		defer func() { // else nobody sees that the first of them is an increase
			b.Passed(loop.Pass{Repaired: true, Changes: map[string]int{"link": 1, "address": 1, "fdb": 1, "neighbour": 1, "route": 1}})
			if now := names(); now != from {
				t.Errorf("not all that is counted was zero before:\n%swere\n%s", now, from)
			}
		}()
		if e := b.Status().Etcd; e.State != Waiting || !e.LastAnswer.IsZero() {
			t.Errorf("before a request: %+v", e)
		}
		s.Leases(t.Context())
		first := b.Status().Etcd
		if first.State != OK || first.LastAnswer.IsZero() || first.LastListing.IsZero() {
			t.Errorf("after an answer: %+v", first)
		}
		time.Sleep(time.Minute)
		f.err = errors.New("connection refused")
		s.Leases(t.Context())
		if e := b.Status().Etcd; e.State != Failing || !e.WatchFailing || e.LastError != "connection refused" || e.LastAnswer != first.LastAnswer || !e.Since.After(first.Since) {
			t.Errorf("after an error: %+v", e)
		}
		f.err = nil
		s.Leases(t.Context())
		if e := b.Status().Etcd; e.State != OK || e.WatchFailing || e.LastError != "connection refused" {
			t.Errorf("and back: %+v", e)
		}

		f.watch = subnet.ErrCompacted
		watch(t.Context(), 0)
		if n := resyncs("compacted"); n != 1 || b.Status().Etcd.State != OK {
			t.Errorf("history that has gone counts %d, and etcd is %+v", n, b.Status().Etcd)
		}
		f.watch = errors.New("reset by peer")
		watch(t.Context(), 0)
		if n := resyncs("error"); n != 1 || !b.Status().Etcd.WatchFailing {
			t.Errorf("a watch that fails counts %d, and etcd is %+v", n, b.Status().Etcd)
		}
		watch(t.Context(), 1)
		if n := resyncs("burst"); n != 1 || b.Status().Etcd.WatchFailing {
			t.Errorf("a watch that was broken off after an event counts %d, and etcd is %+v", n, b.Status().Etcd)
		}
		f.watch = nil
		aged, cancel := context.WithTimeout(t.Context(), time.Hour)
		watch(aged, 0)
		cancel()
		if n := resyncs("age"); n != 1 {
			t.Errorf("a listing that has become old counts %d", n)
		}
		all := func() uint64 {
			return resyncs("ended") + resyncs("compacted") + resyncs("error") + resyncs("burst") + resyncs("age")
		}
		before := all()
		ending, end := context.WithCancel(t.Context())
		end()
		watch(ending, 0)
		if e := b.Status().Etcd; e.State != OK || all() != before {
			t.Errorf("a daemon that ends takes etcd for %+v", e)
		}
	})
}
