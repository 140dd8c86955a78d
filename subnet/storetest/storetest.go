// Package storetest holds every subnet.Store to the same promises: those that
// the interface's documentation makes, sentence by sentence.
package storetest

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

// Harness is a store without any key, and what else can happen to it. Keys are
// those below subnets, such as "10.5.1.0-24".
type Harness struct {
	Store        subnet.Store
	SetConfig    func(document string)
	DeleteConfig func()
	PutRaw       func(key, value string, ttl time.Duration) // whatever is there; ttl zero: none
	DeleteRaw    func(key string)
	DeleteDir    func()      // all keys, as one event
	Churn        func(n int) // n writes to keys that are none of ours; after a thousand, history has gone
	Bound        bool        // an expiry that is listed or watched is one at the latest
}

// patience is how long an event may take that is sure to come. An expiry takes
// a store up to half a second longer than the ttl.
const patience = 5 * time.Second

// Run runs the suite. Each test has a harness of its own, and they do not run
// at the same time: Churn reaches all of a server's users.
func Run(t *testing.T, make func(t *testing.T) Harness) {
	for _, tt := range []struct {
		name string
		f    func(*testing.T, Harness)
	}{
		{"ConfigIsReturnedAsWritten", configAsWritten},
		{"ConfigIsErrNoConfigWithARevision", configMissing},
		{"AwaitConfigReturnsAWrite", awaitWrite},
		{"AwaitConfigReturnsADelete", awaitDelete},
		{"AwaitConfigKnowsThePast", awaitPast},
		{"AwaitConfigIgnoresLeases", awaitIgnoresLeases},
		{"LeasesOfAnEmptyStore", leasesEmpty},
		{"CreateThenLeases", createThenLeases},
		{"CreateOfADualStackLease", createDualStack},
		{"CreateWithoutTTLIsAReservation", createReservation},
		{"CreateReturnsErrTaken", createTaken},
		{"CreateRacedHasOneWinner", createRace},
		{"RenewMovesTheExpiry", renewMoves},
		{"RenewKeepsAReservation", renewReservation},
		{"RenewReturnsErrLost", renewLost},
		{"RenewRacedHasOneWinner", renewRace},
		{"ARevisionIsNoIdentity", revisionReused},
		{"RefreshMovesTheExpiryAndWakesNobody", refreshMoves},
		{"RefreshReturnsErrLost", refreshLost},
		{"RefreshTwiceIsOnce", refreshTwice},
		{"RefreshLeavesAReservationOne", refreshReservation},
		{"DeleteRemovesTheKey", deleteRemoves},
		{"DeleteReturnsErrLost", deleteLost},
		{"DeleteTwiceIsOnce", deleteTwice},
		{"WatchYieldsEveryChangeInOrder", watchOrder},
		{"WatchGoesOnFromARevision", watchFrom},
		{"WatchYieldsAnExpiryAsDeleted", watchExpiry},
		{"WatchIgnoresOthers", watchIgnores},
		{"WatchReturnsErrCompacted", watchCompacted},
		{"WatchOfADeletedDirectoryIsErrCompacted", watchDir},
		{"WatchFromTheFutureIsErrCompacted", watchFuture},
		{"JunkIsLeftOut", junkLeftOut},
		{"ALeaseThatBecomesJunkIsDeleted", junkDeletes},
		{"CancelledContextsEndEverything", cancelled},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.f(t, make(t)) })
	}
}

// lease returns the lease of 10.5.n.0/24 by the host 192.0.2.owner.
func lease(n, owner byte) subnet.Lease {
	return subnet.Lease{Type: "vxlan", V4: subnet.Claim{
		Subnet:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, n, 0}), 24),
		PublicIP: netip.AddrFrom4([4]byte{192, 0, 2, owner}),
		Data:     `{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}`,
	}}
}

func encode(t *testing.T, l subnet.Lease) string {
	t.Helper()
	v, err := wire.Encode(l)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func create(t *testing.T, h Harness, l subnet.Lease, ttl time.Duration) subnet.Lease {
	t.Helper()
	l, err := h.Store.Create(t.Context(), l, ttl)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return l
}

func list(t *testing.T, h Harness) ([]subnet.Lease, subnet.Revision) {
	t.Helper()
	leases, rev, err := h.Store.Leases(t.Context())
	if err != nil {
		t.Fatalf("Leases: %v", err)
	}
	return leases, rev
}

func wantLeases(t *testing.T, h Harness, want ...subnet.Lease) {
	t.Helper()
	got, _ := list(t, h)
	for i, g := range got {
		for _, w := range want {
			if h.Bound && g.Key() == w.Key() {
				got[i].Expires = bound(t, g, w)
			}
		}
	}
	if diff := cmp.Diff(want, got, compare...); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
}

// bound returns the expiry of the lease that is wanted, if the other's is no earlier.
func bound(t *testing.T, got, want subnet.Lease) time.Time {
	t.Helper()
	if got.Reserved() != want.Reserved() || got.Expires.Before(want.Expires.Add(-time.Second)) {
		t.Errorf("%s expires at %v, want no earlier than %v", got.Key(), got.Expires, want.Expires)
	}
	return want.Expires
}

// compare takes leases in any order, and expiries that are as good as equal: a
// store may keep them in whole seconds.
var compare = []cmp.Option{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmpopts.EquateApproxTime(time.Second), cmpopts.EquateEmpty(),
	cmpopts.SortSlices(func(a, b subnet.Lease) bool { return a.Compare(b) < 0 }),
}

// wantTTL checks that a lease expires after about ttl; zero: never.
func wantTTL(t *testing.T, l subnet.Lease, ttl time.Duration) {
	t.Helper()
	if ttl == 0 {
		if !l.Reserved() {
			t.Errorf("lease expires at %v, want a reservation", l.Expires)
		}
		return
	}
	if left := time.Until(l.Expires); left < ttl-2*time.Second || left > ttl+2*time.Second {
		t.Errorf("lease lives for %v, want %v", left, ttl)
	}
}

// events collects n events after a revision.
func events(t *testing.T, h Harness, after subnet.Revision, n int) []subnet.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []subnet.Event
	for e, err := range h.Store.Watch(ctx, after) {
		if err != nil {
			t.Errorf("Watch after %d events of %d: %v", len(got), n, err)
			break
		}
		if got = append(got, e); len(got) == n {
			break
		}
	}
	return got
}

// watchError returns the error that ends a watch, and how many events came
// before it.
func watchError(t *testing.T, h Harness, after subnet.Revision) (int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, over := 0, error(nil)
	for _, err := range h.Store.Watch(ctx, after) {
		if over != nil {
			t.Fatalf("Watch goes on after %v", over)
		}
		if over = err; err == nil {
			n++
		}
	}
	return n, over
}
