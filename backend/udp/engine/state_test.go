package engine

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
)

func TestAdmit(t *testing.T) {
	state := State{
		Subnet: netip.MustParsePrefix("10.1.0.0/24"),
		Peers: []Peer{
			{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParseAddrPort("192.0.2.1:8285")},
			{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParseAddrPort("192.0.2.2:8285")},
		},
		Allow: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
	}
	for _, row := range []struct {
		name, from, src, dst string
		want                 Counter
		claims               bool
	}{
		{"a peer's", "192.0.2.1", "10.1.1.9", "10.1.0.9", Packets, false},
		{"its own address", "192.0.2.1", "10.1.1.0", "10.1.0.0", Packets, false},
		{"nobody's", "192.0.2.9", "10.9.9.9", "10.1.0.9", UnknownSender, false},
		{"a peer's from elsewhere", "192.0.2.9", "10.1.1.9", "10.1.0.9", UnknownSender, true},
		{"another peer's", "192.0.2.2", "10.1.1.9", "10.1.0.9", ForeignSource, true},
		{"a peer's, source unknown", "192.0.2.2", "10.9.9.9", "10.1.0.9", ForeignSource, false},
		{"ours", "192.0.2.2", "10.1.0.9", "10.1.0.9", ForeignSource, false},
		{"to elsewhere", "192.0.2.1", "10.1.1.9", "10.1.2.9", ForeignDestination, false},
		{"extra", "198.51.100.7", "10.1.1.9", "10.1.0.9", Packets, false},
		{"extra, source unknown", "198.51.100.7", "10.9.9.9", "10.1.0.9", UnknownSender, false},
		{"extra, to elsewhere", "198.51.100.7", "10.1.1.9", "10.1.2.9", ForeignDestination, false},
	} {
		n := func(s string) uint32 { return number(netip.MustParseAddr(s)) }
		reason, claimed := compile(state, nil).admit(n(row.from), n(row.src), n(row.dst))
		if reason != row.want || (claimed != nil) != row.claims {
			t.Errorf("%s: %s, claims %v; want %s, %v", row.name, reason, claimed != nil, row.want, row.claims)
		}
		state := state
		state.Open = true
		if reason, _ := compile(state, nil).admit(n(row.from), n(row.src), n(row.dst)); reason != Packets {
			t.Errorf("%s: refused though the filter is off", row.name)
		}
	}
}

// peers are those that the table has.
func (f *forwarding) peers() (all []*peer) {
	for _, l := range f.table.levels {
		all = slices.AppendSeq(all, maps.Values(l.peers))
	}
	return all
}

func TestCompileKeepsWhatIsKnown(t *testing.T) {
	stays := Peer{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParseAddrPort("192.0.2.1:8285")}
	moves := Peer{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParseAddrPort("192.0.2.2:8285")}
	s := State{Subnet: netip.MustParsePrefix("10.1.0.0/24"), Peers: []Peer{stays, moves}}
	before := compile(s, nil)
	for _, p := range before.peers() {
		p.reported.Store(true)
		p.piecewise.Store(1)
	}
	moves.Endpoint = netip.MustParseAddrPort("192.0.2.3:8285")
	s.Peers = []Peer{stays, moves}
	after := compile(s, before)
	if after.table.at(stays) != before.table.at(stays) {
		t.Error("what was known of a peer that stayed is lost")
	}
	if p := after.table.at(moves); p.reported.Load() || p.piecewise.Load() != 0 {
		t.Error("what was known of a peer elsewhere is believed of its new address")
	}
}

func TestCompileLeavesOutWhatIsNotIPv4(t *testing.T) {
	good := Peer{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParseAddrPort("192.0.2.1:8285")}
	f := compile(State{
		Subnet: netip.MustParsePrefix("10.1.0.0/24"),
		Peers: []Peer{
			{netip.MustParsePrefix("fd00::/64"), good.Endpoint}, {netip.Prefix{}, good.Endpoint},
			{good.Subnet, netip.MustParseAddrPort("[fd00::1]:8285")}, {good.Subnet, netip.AddrPort{}}, good,
		},
		Allow: []netip.Prefix{netip.MustParsePrefix("fd00::/64")},
	}, nil)
	if len(f.peers()) != 1 || f.table.at(good) == nil || len(f.allow) != 0 {
		t.Errorf("got peers %v, allow %v", f.peers(), f.allow)
	}
	from, src := number(good.Endpoint.Addr()), number(good.Subnet.Addr())
	for _, s := range []State{{}, {Subnet: netip.MustParsePrefix("fd00::/64")}} {
		s.Peers = []Peer{good}
		if reason, _ := compile(s, nil).admit(from, src, 0); reason != ForeignDestination {
			t.Errorf("with the subnet %s a packet counts as %s", s.Subnet, reason)
		}
	}
}
