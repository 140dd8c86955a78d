package storetest

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
)

// herd is how many hosts start at once, on a network of as many subnets.
const herd = 100

// Herd starts hosts at once on a network that has just enough subnets. Each uses a
// store from dial, all of one server; all are to have leases of their own in time.
func Herd(t *testing.T, dial func() subnet.Store, within time.Duration) {
	t.Helper()
	cfg, _, err := config.Parse(fmt.Appendf(nil, `{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.%d.0"}`, herd))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	owners := make(map[subnet.Key]int)
	for i := range herd {
		r := subnet.Request{Config: cfg}
		r.Lease.V4.PublicIP = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		r.Lease.Node = fmt.Sprintf("%032x", i)
		store := dial()
		wg.Go(func() {
			got, err := subnet.Acquire(t.Context(), store, r, slog.New(slog.DiscardHandler))
			mu.Lock()
			defer mu.Unlock()
			if other, twice := owners[got.Lease.Key()]; err != nil || twice {
				t.Errorf("host %d has %s, %v; so has host %d", i, got.Lease.Key(), err, other)
			}
			owners[got.Lease.Key()] = i
		})
	}
	wg.Wait()
	took := time.Since(start)
	t.Logf("%d hosts have %d subnets after %s", herd, len(owners), took.Round(time.Millisecond))
	if len(owners) != herd || took > within {
		t.Errorf("%d hosts have %d subnets after %s, want as many within %s", herd, len(owners), took, within)
	}
	leases, _, err := dial().Leases(t.Context())
	if err != nil || len(leases) != herd {
		t.Errorf("the store has %d leases, %v", len(leases), err)
	}
}
