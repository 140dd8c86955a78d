package engine

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"flanneld/pkg/offload"
)

// FuzzAdmit compares what may come in with the rule as it is written down, by addresses
// and prefixes. The peers are made of bytes too, eight each: three of the subnet, its length and the endpoint.
func FuzzAdmit(f *testing.F) {
	packet := []byte{0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 1, 1, 9, 10, 1, 0, 9, 0, 9, 0, 9, 0, 8, 0, 0}
	peers := []byte{10, 1, 1, 24, 192, 0, 2, 1, 10, 1, 1, 16, 192, 0, 2, 2, 10, 1, 2, 24, 192, 0, 2, 3}
	from := uint32(192)<<24 | 2<<8 | 1
	f.Add(peers, []byte{10, 1, 0, 24}, []byte{198, 51, 100, 24}, from, packet)
	f.Add(peers, []byte{10, 1, 0, 24}, []byte{198, 51, 100, 24}, uint32(198)<<24|51<<16|100<<8|7, packet)
	f.Add(peers, []byte{10, 1, 0, 24}, []byte(nil), from+1, packet)
	f.Add([]byte(nil), []byte{0, 0, 0, 0}, []byte{0, 0, 0, 0}, uint32(0), packet[:20])
	f.Add([]byte{10, 1, 0, 32, 0, 0, 0, 0}, []byte{10, 1, 0, 32}, []byte(nil), uint32(0), []byte{0x60})
	f.Fuzz(func(t *testing.T, peers, own, allow []byte, from uint32, datagram []byte) {
		s := State{}
		if p, ok := prefixOf(own); ok {
			s.Subnet = p
		}
		if p, ok := prefixOf(allow); ok {
			s.Allow = append(s.Allow, p)
		}
		for ; len(peers) >= 8 && len(s.Peers) < 16; peers = peers[8:] {
			p, _ := prefixOf(peers)
			s.Peers = append(s.Peers, Peer{Subnet: p, Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte(peers[4:8])), 8285)})
		}
		p, err := offload.ParseIPv4(datagram)
		if err != nil {
			return
		}
		got, claimed := compile(s, nil).admit(from, binary.BigEndian.Uint32(p[12:]), binary.BigEndian.Uint32(p[16:]))
		if want := admitted(s, address(from), p.Src(), p.Dst()); (got == Packets) != want {
			t.Errorf("%s from %s to %s counts as %s, want in: %t; of %+v", p.Src(), address(from), p.Dst(), got, want, s)
		}
		if claimed != nil && !claimed.Subnet.Contains(p.Src()) {
			t.Errorf("%s claims to be of %s", p.Src(), claimed.Subnet)
		}
	})
}

// prefixOf returns the prefix of four bytes: three of the address, and the length.
func prefixOf(b []byte) (netip.Prefix, bool) {
	if len(b) < 4 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{b[0], b[1], b[2], 0}), int(b[3])%33).Masked(), true
}

// admitted reports whether a packet may come in.
func admitted(s State, from, src, dst netip.Addr) bool {
	var peer Peer
	for _, p := range s.Peers {
		// The last one of equal subnets counts.
		if p.Subnet.Contains(src) && (!peer.Subnet.IsValid() || p.Subnet.Bits() >= peer.Subnet.Bits()) {
			peer = p
		}
	}
	allowed := len(s.Allow) > 0 && s.Allow[0].Contains(from)
	return peer.Subnet.IsValid() && (peer.Endpoint.Addr() == from || allowed) && s.Subnet.IsValid() && s.Subnet.Contains(dst)
}
