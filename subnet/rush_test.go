package subnet

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// When a whole fleet starts, a host asks for a few lists and not for every change.
func TestFollowListsInARush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		v, l := following(t, store)
		lists := store.count("list")
		for i := range 1000 {
			store.memory.Force(lease(fmt.Sprintf("10.1.%d.0/24", i%250), fmt.Sprintf("192.0.2.%d", i%250)), DefaultTTL)
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		if n := len(v.Leases()); n != 250 {
			t.Errorf("%d leases, want 250", n)
		}
		if n := store.count("list") - lists; n < 2 || n > 6 {
			t.Errorf("%d lists in five seconds", n)
		}
		l.want(t, "failed", 0)
		// It watches again.
		lists = store.count("list")
		time.Sleep(10 * time.Second)
		store.force(lease("10.1.251.0/24", "192.0.2.251"), DefaultTTL)
		synctest.Wait()
		if n := len(v.Leases()); n != 251 || store.count("list") != lists {
			t.Errorf("%d leases after another change, want 251, and %d more lists", n, store.count("list")-lists)
		}
	})
}
