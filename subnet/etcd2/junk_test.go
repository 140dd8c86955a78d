package etcd2

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	etcdproc "flanneld/subnet/storetest/etcd"
)

func TestJunkIsLoggedOnce(t *testing.T) {
	t.Parallel()
	url := etcdproc.Start(t)
	log := new(lines)
	s := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net", Log: log.logger()}, defaults(0))
	h := harness(t, s)
	_, rev, err := s.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.PutRaw("notes", "do not delete", 0)
	h.PutRaw("deep/10.5.2.0-24", `{"PublicIP":"192.0.2.1"}`, 0)
	if _, err := s.Create(t.Context(), lease(1), time.Hour); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for range 2 {
			if got, _, err := s.Leases(t.Context()); err != nil || len(got) != 1 || got[0].Key() != lease(1).Key() {
				t.Errorf("Leases = %v, %v; want one", got, err)
			}
		}
		if got, err := watch(t.Context(), s, rev, 1); err != nil || len(got) != 1 || got[0].Lease.Key() != lease(1).Key() {
			t.Errorf("Watch yields %v, %v; want one lease", got, err)
		}
	}
	if n, all := log.count("subnets/notes"), log.count("\n"); n != 1 || all != 2 {
		t.Errorf("%d lines, of them %d about the notes; want one about these and one about the directory:\n%s", all, n, &log.buf)
	}
	h.PutRaw("notes", "do delete", 0)
	s.Leases(t.Context())
	if n := log.count("subnets/notes"); n != 2 {
		t.Errorf("%d lines about notes with two texts", n)
	}
}

// Deleting a directory below the leases, or a lease's key that is one, takes no
// lease away; deleting one above takes all.
func TestDirectoriesThatGo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key string
		all bool
	}{
		{"/net/subnets", true}, {"/net", true}, {"/net/subnets/deep", false}, {"/net/subnets/deep/10.5.2.0-24", false}, {"/ne", false},
	} {
		t.Run(tt.key, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T) {
				f := serve(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Query().Get("waitIndex") == "9" {
						reply(w, 8, 200, event9)
					} else {
						reply(w, 7, 200, fmt.Sprintf(`{"action":"delete","node":{"key":%q,"dir":true,"modifiedIndex":8}}`, tt.key))
					}
				})
				got, err := watch(t.Context(), f.store(t), 7, 1)
				if tt.all != (err != nil) || tt.all == (len(got) == 1) {
					t.Errorf("Watch yields %v, %v; all are gone: %v", got, err, tt.all)
				}
			})
		})
	}
}
