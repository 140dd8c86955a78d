package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"flanneld/backend/loop"
)

// follow returns what Follow yields, with its error as an event without a number.
func follow(t *testing.T, path string, after uint64) (next func() Event, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan Event)
	go func() {
		defer close(got)
		for e, err := range Follow(ctx, path, after) {
			if err != nil {
				e = Event{Text: err.Error()}
			}
			select {
			case got <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	stop = func() {
		cancel()
		for range got {
		}
	} //nolint:revive // until it has ended
	t.Cleanup(stop)
	return func() Event {
		t.Helper()
		select {
		case e := <-got:
			return e
		case <-time.After(20 * time.Second):
			t.Fatal("nothing comes")
		}
		return Event{}
	}, stop
}

func TestEventsAreFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flanneld.sock")
	b := NewBoard(func(string) {})
	_, stopServer := runSocket(t, path, b)
	b.SetTrouble(Forwarding, "off")
	next, stop := follow(t, path, 0)
	if e := next(); e.Seq != 1 || e.Text != "is failing: off" || e.Part != "forwarding" || e.Level != "warning" {
		t.Errorf("%+v", e)
	}
	b.SetTrouble(Forwarding, "")
	if e := next(); e.Seq != 2 || e.Text != "is ok" {
		t.Errorf("%+v", e)
	}
	// Nothing is asked of a client that only listens, for longer than it may take for a request.
	time.Sleep(requestTime + requestTime/2) // what is tried is that nothing happens
	b.Passed(loop.Pass{Changes: map[string]int{"link": 1, "route": 2}, Repaired: true})
	if e := next(); e.Seq != 3 || e.Part != "datapath" || !strings.Contains(e.Text, "3 changes") {
		t.Errorf("%+v", e)
	}
	b.SetFirewall(nil, 2, 0) // is in place from now on, and was put right
	if e, ok := next(), next(); e.Part != "firewall" || !strings.Contains(e.Text, "2 changes") || ok.Text != "is ok" {
		t.Errorf("%+v, %+v", e, ok)
	}
	stop()

	// Who comes again gets what came meanwhile, and the same event several times is one.
	for range 3 {
		b.SetFirewall(nil, 2, 0)
	}
	next, _ = follow(t, path, 5)
	if e := next(); e.Seq != 8 || e.Count != 3 {
		t.Errorf("%+v", e)
	}
	began := time.Now()
	stopServer()
	if e := next(); e.Text != io.EOF.Error() || time.Since(began) > requestTime {
		t.Errorf("when the daemon ends: %+v after %s", e, time.Since(began))
	}
}

func TestEventsOfPeers(t *testing.T) {
	b := NewBoard(func(string) {})
	want(b, 2, 3)
	want(b, 3, 4)
	many := make([]byte, 2*mostNamed)
	for i := range many {
		many[i] = 10 + byte(i)
	}
	want(b, many...)
	var got []string
	events, _ := b.EventsAfter(0)
	for _, e := range events {
		got = append(got, e.Text)
		if e.Part != "peers" || e.Level != "info" || e.Seq != uint64(len(got)) {
			t.Errorf("%+v", e)
		}
		if prefix, _, _ := strings.Cut(e.Text, " "); len(got) < 5 && (e.Subnet != netip.MustParsePrefix(prefix) || !e.PublicIP.IsValid()) {
			t.Errorf("%+v", e)
		}
	}
	wanted := []string{"10.1.2.0/24 is at 192.168.1.2 from now on", "10.1.3.0/24 is at 192.168.1.3 from now on", "10.1.2.0/24 has gone, which was at 192.168.1.2",
		"10.1.4.0/24 is at 192.168.1.4 from now on", "20 peers added or changed, 2 removed"}
	if !slices.Equal(got, wanted) {
		t.Errorf("%q", got)
	}
}

// TestStreamsAreBounded: others still get answers, and a client that reads nothing costs no
// more than what is remembered anyway.
func TestStreamsAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flanneld.sock")
	b := NewBoard(func(string) {})
	runSocket(t, path, b)
	for range mostStreams {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, len("HTTP/1.1 200 OK"))); err != nil {
			t.Fatal(err)
		}
	}
	for e, err := range Follow(t.Context(), path, 0) {
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "4 others watch already") {
			t.Errorf("%+v, %v", e, err)
		}
	}
	for n := range 10 * mostRemembered {
		b.SetTrouble(Forwarding, strings.Repeat("x", mostText)[:mostText-n%2])
		b.SetTrouble(Forwarding, "")
	}
	if s, err := Read(t.Context(), path, 0); err != nil || len(s.Events) != mostEvents {
		t.Errorf("%d events, %v", len(s.Events), err)
	}
	events, _ := b.EventsAfter(0)
	if last := events[len(events)-1].Seq; len(events) != mostRemembered || last < 10*mostRemembered {
		t.Errorf("%d events are remembered, the last is %d", len(events), last)
	}
	// Those that read nothing are let go when they have not for some time.
	waitFor(t, func() error {
		for _, err := range Follow(t.Context(), path, 0) {
			return err
		}
		return errors.New("nothing")
	})
}

// waitFor waits until f returns nil.
func waitFor(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Error(fmt.Errorf("in 30 s: %w", err))
}
