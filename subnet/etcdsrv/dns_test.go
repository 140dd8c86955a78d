package etcdsrv

import (
	"context"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// server answers queries for SRV records. Its zero value knows none.
type server struct {
	mu      sync.Mutex
	records map[string][]dnsmessage.SRVResource // by the name, without its last dot
	silent  map[string]bool
	broken  map[string]bool
	asked   int
}

// resolver returns one that asks it.
func (s *server) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = c.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if out := s.answer(buf[:n]); out != nil {
				_, _ = c.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", c.LocalAddr().String())
	}}
}

// queries returns how often it was asked.
func (s *server) queries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *server) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	name := q.Name.String()
	name = name[:len(name)-1]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.silent[name] {
		return nil
	}
	out := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
	records, known := s.records[name]
	switch {
	case s.broken[name]:
		out.RCode = dnsmessage.RCodeServerFailure
	case !known:
		out.RCode = dnsmessage.RCodeNameError
	}
	for _, r := range records {
		out.Answers = append(out.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypeSRV, Class: dnsmessage.ClassINET, TTL: 60}, Body: &r})
	}
	packed, err := out.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// set makes the targets of a service in example.com those, each at port 2379.
func (s *server) set(service string, targets ...string) {
	s.setPort(service, "example.com", 2379, targets...)
}

func (s *server) setPort(service, domain string, port uint16, targets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil {
		s.records = make(map[string][]dnsmessage.SRVResource)
	}
	var all []dnsmessage.SRVResource
	for i, target := range targets {
		all = append(all, dnsmessage.SRVResource{Priority: uint16(i), Weight: 1, Port: port, Target: dnsmessage.MustNewName(target + ".")})
	}
	s.records["_"+service+"._tcp."+domain] = all
}
