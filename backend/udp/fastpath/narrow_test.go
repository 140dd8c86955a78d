package fastpath

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// told returns what a router says of a datagram, without the header of IPv4.
func told(mtu uint16, datagram []byte) []byte {
	m := binary.BigEndian.AppendUint16([]byte{3, 4, 0, 0, 0, 0}, mtu)
	return append(m, datagram[:min(len(datagram), 28)]...)
}

func TestTooLarge(t *testing.T) {
	d := datagram("192.0.2.1", "192.0.2.2", 8286, make([]byte, 1472))
	about, mtu, ok := tooLarge(told(1400, d))
	want := quoted{netip.MustParseAddrPort("192.0.2.1:8285"), netip.MustParseAddrPort("192.0.2.2:8286")}
	if !ok || mtu != 1400 || about != want {
		t.Errorf("%+v, %d, %t", about, mtu, ok)
	}
	options := append(with(d[:20], 0, 0x46), append(make([]byte, 4), d[20:28]...)...)
	if about, _, ok := tooLarge(append(told(1400, nil), options...)); !ok || about != want {
		t.Errorf("with options: %+v, %t", about, ok)
	}
	for name, m := range map[string][]byte{
		"nothing": nil, "another code": with(told(1400, d), 1, 3), "another type": with(told(1400, d), 0, 11), "cut off": told(1400, d)[:31],
		"about TCP": told(1400, with(d, 9, 6)), "about IPv6": told(1400, with(d, 0, 0x65)), "a header of 16 bytes": told(1400, with(d, 0, 0x44)),
		"a header that is cut off": told(1400, with(d, 0, 0x4f)),
	} {
		if about, _, ok := tooLarge(m); ok {
			t.Errorf("%s: taken for %+v", name, about)
		}
	}
}

func FuzzTooLarge(f *testing.F) {
	f.Add(told(1400, datagram("192.0.2.1", "192.0.2.2", 8285, nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if about, mtu, ok := tooLarge(b); ok && (!about.from.IsValid() || !about.to.IsValid() || mtu < 0 || mtu > 65535) {
			t.Errorf("% x: %+v, %d", b, about, mtu)
		}
	})
}
