package etcd2

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	etcdproc "flanneld/subnet/storetest/etcd"
)

// loser is a proxy before an etcd that loses answers: of writes that were done,
// which are longer than refusals.
type loser struct{ on atomic.Bool }

func (l *loser) serve(t *testing.T, etcd string) string {
	t.Helper()
	proxy := passOn(t, etcd)
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || !l.on.Load() {
			proxy.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		if answer.Code < 300 {
			panic(http.ErrAbortHandler)
		}
		for k, v := range answer.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // its reader may have gone
	}).URL
}

// A network can cut off each answer that is longer than a refusal. Then the
// client, which tries again by itself, is refused what it has just done, each time:
// that the key is lost would be wrong, since it holds our value all the while.
func TestWhatIsRefusedAgainAndAgainIsLeftOpen(t *testing.T) {
	t.Parallel()
	etcd := etcdproc.Start(t)
	var l loser
	s := newTestStore(t, Options{Endpoints: []string{l.serve(t, etcd), l.serve(t, etcd)}, Prefix: "/net"}, brisk())
	held := mustCreate(t, s, 1)

	l.on.Store(true)
	_, _, err := s.Refresh(t.Context(), held, time.Hour)
	unknown(t, "Refresh", err)
	changed := held
	changed.V4.Data = `{"VNI":2}`
	l.on.Store(false)
	leases, _, err := s.Leases(t.Context())
	if err != nil || len(leases) != 1 {
		t.Fatalf("Leases = %v, %v", leases, err)
	}
	changed.Rev = leases[0].Rev
	l.on.Store(true)
	held.Rev = changed.Rev
	_, err = s.Renew(t.Context(), held, changed, time.Hour)
	unknown(t, "Renew", err)
	l.on.Store(false)
	wantLife(t, s, changed, 50*time.Minute)

	// The client tries no creation again, but our caller does.
	l.on.Store(true)
	_, err = s.Create(t.Context(), lease(2), time.Hour)
	unknown(t, "Create", err)
	_, err = s.Create(t.Context(), lease(2), time.Hour)
	unknown(t, "Create again", err)
}
