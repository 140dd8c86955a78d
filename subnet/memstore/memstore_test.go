package memstore_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/memstore"
	"flanneld/subnet/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Harness {
		s := memstore.New()
		return storetest.Harness{
			Store: s, SetConfig: s.SetConfig, DeleteConfig: s.DeleteConfig, PutRaw: s.PutTTL,
			DeleteRaw: s.Remove, DeleteDir: s.RemoveAll, Churn: s.Churn,
		}
	})
}

func TestExpiryInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		start := time.Now()
		l, err := s.Create(t.Context(), subnet.Lease{V4: subnet.Claim{
			Subnet: netip.MustParsePrefix("10.5.1.0/24"), PublicIP: netip.MustParseAddr("192.0.2.1"),
		}}, subnet.DefaultTTL)
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range s.Watch(t.Context(), l.Rev) {
			if err != nil || !e.Deleted || time.Since(start) != subnet.DefaultTTL {
				t.Errorf("after %v: %+v, %v; want a deletion after %v", time.Since(start), e, err, subnet.DefaultTTL)
			}
			break
		}
	})
}

func TestFail(t *testing.T) {
	s := memstore.New()
	broken := errors.New("broken")
	var ops []string
	s.Fail = func(op string) error { ops = append(ops, op); return broken }
	ctx := context.Background()
	l := subnet.Lease{V4: subnet.Claim{
		Subnet: netip.MustParsePrefix("10.5.1.0/24"), PublicIP: netip.MustParseAddr("192.0.2.1"),
	}}
	_, err1 := s.Config(ctx)
	_, err2 := s.AwaitConfig(ctx, 1)
	_, _, err3 := s.Leases(ctx)
	_, err4 := s.Create(ctx, l, 0)
	_, err5 := s.Renew(ctx, l, l, 0)
	err6 := s.Delete(ctx, l)
	for _, err := range []error{err1, err2, err3, err4, err5, err6} {
		if !errors.Is(err, broken) {
			t.Errorf("error is %v, want the injected one", err)
		}
	}
	for _, err := range s.Watch(ctx, 1) {
		if !errors.Is(err, broken) {
			t.Errorf("error is %v, want the injected one", err)
		}
	}
	if len(ops) != 7 {
		t.Errorf("asked before %v, want seven", ops)
	}
}

func TestHerd(t *testing.T) {
	s := memstore.New()
	storetest.Herd(t, func() subnet.Store { return s }, 10*time.Second)
}
