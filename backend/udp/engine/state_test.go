package engine

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAdmit(t *testing.T) {
	state := State{
		Subnet: netip.MustParsePrefix("10.1.0.0/24"),
		Peers: []Peer{
			{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParseAddrPort("192.0.2.1:8285")},
			{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParseAddrPort("192.0.2.2:8285")},
		},
		Filter: Filter{Extra: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
	}
	for _, row := range []struct {
		name, from, src, dst string
		want                 string // a reason, or nothing
		claims               bool
	}{
		{"a peer's", "192.0.2.1", "10.1.1.9", "10.1.0.9", "", false},
		{"its own address", "192.0.2.1", "10.1.1.0", "10.1.0.0", "", false},
		{"nobody's", "192.0.2.9", "10.9.9.9", "10.1.0.9", "unknown_sender", false},
		{"a peer's from elsewhere", "192.0.2.9", "10.1.1.9", "10.1.0.9", "unknown_sender", true},
		{"another peer's", "192.0.2.2", "10.1.1.9", "10.1.0.9", "foreign_source", true},
		{"a peer's, source unknown", "192.0.2.2", "10.9.9.9", "10.1.0.9", "foreign_source", false},
		{"ours", "192.0.2.2", "10.1.0.9", "10.1.0.9", "foreign_source", false},
		{"to elsewhere", "192.0.2.1", "10.1.1.9", "10.1.2.9", "foreign_destination", false},
		{"extra", "198.51.100.7", "10.1.1.9", "10.1.0.9", "", false},
		{"extra, source unknown", "198.51.100.7", "10.9.9.9", "10.1.0.9", "unknown_sender", false},
		{"extra, to elsewhere", "198.51.100.7", "10.1.1.9", "10.1.2.9", "foreign_destination", false},
	} {
		n := func(s string) uint32 { return number(netip.MustParseAddr(s)) }
		f, err := compile(state, &forwarding{})
		must(t, err)
		reason, ok, claimed := f.admit(n(row.from), n(row.src), n(row.dst))
		if ok != (row.want == "") || !ok && reason.String() != row.want || (claimed != nil) != row.claims {
			t.Errorf("%s: %v, %s, claims %v; want %q, %v", row.name, ok, reason, claimed != nil, row.want, row.claims)
		}
		state := state
		state.Filter.Off = true
		if f, err = compile(state, &forwarding{}); err != nil {
			t.Fatal(err)
		}
		if _, ok, _ := f.admit(n(row.from), n(row.src), n(row.dst)); !ok {
			t.Errorf("%s: refused though the filter is off", row.name)
		}
	}
}

func TestCompileKeepsWhatIsKnown(t *testing.T) {
	stays := Peer{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParseAddrPort("192.0.2.1:8285")}
	moves := Peer{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParseAddrPort("192.0.2.2:8285")}
	s := State{Subnet: netip.MustParsePrefix("10.1.0.0/24"), Peers: []Peer{stays, moves}}
	before, err := compile(s, &forwarding{})
	must(t, err)
	for _, p := range before.peers {
		p.reported.Store(true)
		p.piecewise.Store(1)
	}
	moves.Endpoint = netip.MustParseAddrPort("192.0.2.3:8285")
	s.Peers = []Peer{stays, moves}
	after, err := compile(s, before)
	must(t, err)
	if after.peers[stays] != before.peers[stays] {
		t.Error("what was known of a peer that stayed is lost")
	}
	if p := after.peers[moves]; p.reported.Load() || p.piecewise.Load() != 0 {
		t.Error("what was known of a peer elsewhere is believed of its new address")
	}
}

func TestCompileLeavesOutWhatIsInvalid(t *testing.T) {
	good := Peer{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParseAddrPort("192.0.2.1:8285")}
	f, err := compile(State{
		Subnet: netip.MustParsePrefix("10.1.0.0/24"),
		Peers: []Peer{
			{netip.MustParsePrefix("fd00::/64"), good.Endpoint}, {netip.Prefix{}, good.Endpoint},
			{good.Subnet, netip.MustParseAddrPort("[fd00::1]:8285")}, {good.Subnet, netip.MustParseAddrPort("192.0.2.1:0")}, good,
		},
		Filter: Filter{Extra: []netip.Prefix{netip.MustParsePrefix("fd00::/64")}},
	}, &forwarding{})
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("got %v, want five errors", err)
	}
	if len(f.peers) != 1 || f.peers[good] == nil || len(f.extra) != 0 {
		t.Errorf("got peers %v, extra %v", f.peers, f.extra)
	}
	f, err = compile(State{}, &forwarding{})
	if err == nil {
		t.Error("a state without a subnet is no error")
	}
	if _, ok, _ := f.admit(0, 0, 0); ok {
		t.Error("without a subnet a packet is let in")
	}
}
