package etcdsrv

import (
	"log/slog"
	"net/url"
	"strconv"
	"testing"
	"time"

	"flanneld/subnet/etcd2"
	"flanneld/subnet/etcd3"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// port makes the record that of an etcd on this host.
func (s *server) port(t *testing.T, p *etcdproc.Proc) {
	t.Helper()
	u, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	s.setPort(plain, "localhost", uint16(n), "localhost")
}

func TestRealEtcdsAreFoundAndFollowed(t *testing.T) {
	for name, open := range map[string]func([]string) (Inner, error){
		"v2": func(at []string) (Inner, error) {
			return etcd2.New(etcd2.Options{Endpoints: at, Prefix: "/net", Log: slog.New(slog.DiscardHandler)})
		},
		"v3": func(at []string) (Inner, error) {
			return etcd3.New(etcd3.Options{Endpoints: at, Prefix: "/net", Log: slog.New(slog.DiscardHandler)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var dns server
			first := etcdproc.StartProc(t)
			dns.port(t, first)
			f, log := finder(t, &dns)
			f.Domain = "localhost"
			s := New(f, open)
			t.Cleanup(s.Close)
			if _, err := s.Create(t.Context(), lease(), time.Hour); err != nil {
				t.Fatalf("%v; log %s", err, log)
			}
			// Another one takes its place, at another port and with nothing in it.
			first.Stop()
			if _, _, err := s.Leases(t.Context()); err == nil {
				t.Fatal("an etcd that is stopped answers")
			}
			second := etcdproc.StartProc(t)
			dns.port(t, second)
			f.when = f.when.Add(-lookAgain)
			if all, _, err := s.Leases(t.Context()); err != nil || len(all) != 0 {
				t.Errorf("leases are %v, %v; log %s", all, err, log)
			}
			if _, err := s.Create(t.Context(), lease(), time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
}
