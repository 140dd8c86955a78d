package status

import (
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"testing"

	"flanneld/backend"
	"flanneld/subnet"
)

func get(t *testing.T, s *Server, path string) (code int, body, header string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String(), w.Header().Get("Flannel-Lease")
}

func newServer(t *testing.T) (*Server, *Board) {
	t.Helper()
	b := NewBoard(func(string) {})
	s, err := Listen("", 0, b, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

func TestCountersAreServed(t *testing.T) {
	s, _ := newServer(t)
	if code, body, _ := get(t, s, "/counters"); code != 200 || body != "" {
		t.Errorf("without a backend: %d %q", code, body)
	}
	s.SetCounters(func() []backend.Counter { return []backend.Counter{{Name: "udp_a", Value: 1}, {Name: "udp_b"}} })
	if code, body, _ := get(t, s, "/counters"); code != 200 || body != "udp_a 1\nudp_b 0\n" {
		t.Errorf("counters are served as %d %q", code, body)
	}
}

func TestAnswersFollowTheBoard(t *testing.T) {
	s, b := newServer(t)
	six := one
	six.V6.Subnet = netip.MustParsePrefix("fd00:1::/64")
	for _, row := range []struct {
		name   string
		do     func()
		ready  int
		header string
	}{
		{"before a lease is asked for", func() { b.SetUnusable("none") }, 503, ""},
		{"acquiring", func() { b.SetLease(standing(subnet.Acquiring, subnet.Lease{}, "")) }, 503, "acquiring"},
		{"held, without a pass", func() { b.SetLease(standing(subnet.Held, one, "")) }, 503, "held; subnet=10.1.1.0/24"},
		{"ready", func() { b.Complete(one.Key(), 1) }, 200, "held; subnet=10.1.1.0/24"},
		{"a lost lease", func() { b.SetLease(standing(subnet.Conflict, one, "it is “gone”\n")) }, 503,
			`conflict; subnet=10.1.1.0/24; reason="it is \u201cgone\u201d\n"`},
		{"two families", func() { b.SetLease(standing(subnet.Held, six, "")); b.Complete(six.Key(), 1) }, 200,
			"held; subnet=10.1.1.0/24,fd00:1::/64"},
	} {
		row.do()
		want := "flanneld is ready"
		if row.ready != 200 {
			want = "flanneld is not ready yet\n"
		}
		if code, body, header := get(t, s, "/readyz"); code != row.ready || body != want || header != row.header {
			t.Errorf("%s: /readyz answers %d %q with %q", row.name, code, body, header)
		}
		if code, body, header := get(t, s, "/healthz"); code != 200 || body != "flanneld is running" || header != row.header {
			t.Errorf("%s: /healthz answers %d %q with %q", row.name, code, body, header)
		}
	}
}
