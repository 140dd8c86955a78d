package fastpath

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/backend/udp/engine"
	"flanneld/pkg/bpf"
)

// wayPing returns an ICMP message of a type with which a pinger asks, or that answers it.
func wayPing(kind byte) []byte {
	m := []byte{kind, 0, 0, 0, 0, 0, 0, 1}
	binary.BigEndian.PutUint16(m[4:], engine.WayPing)
	return append(m, engine.WayWord+"more"...)
}

// TestAsks come by the device only: who asks is to know whether anything does. Where nothing is
// to, or may not, the engine has them, which drops them.
func TestAsks(t *testing.T) {
	p := mustLoad(t)
	const untouched, plain, gpe = "untouched", "without outer headers", "VXLAN-GPE"
	from := netip.MustParsePrefix("10.5.2.0/24")
	icmp := func(message []byte) []byte {
		return frame(datagram("192.0.2.2", "192.0.2.1", 8285, packet("10.5.2.0", "10.5.1.0", 63, unix.IPPROTO_ICMP, message)))
	}
	ask, answer, other := icmp(wayPing(8)), icmp(wayPing(0)), icmp(append(wayPing(8)[:8], "others'."...))
	for _, row := range []struct {
		name  string
		mode  uint32
		flags uint32
		frame []byte
		want  string
	}{
		{"an ask", modeGPE, takeRx, ask, gpe},
		{"an ask of who has not announced", modeGPE, 0, ask, gpe},
		{"an ask of who is silent", modeGPE, takeRx | plainRx, ask, gpe},
		{"an ask while nothing comes by the device", modePlain, takeRx, ask, untouched},
		{"an answer", modeGPE, takeRx, answer, gpe},
		{"an answer of who was silent", modeGPE, takeRx | plainRx, answer, gpe},
		{"an answer of who was silent for long", modeGPE, plainRx, answer, gpe},
		{"an answer while nothing comes by the device", modePlain, 0, answer, untouched},
		{"another ping with the same id", modeGPE, takeRx | plainRx, other, plain},
		{"another ping of who is silent for long", modeGPE, plainRx, other, untouched},
	} {
		s := testSettings
		s.Mode = row.mode
		if err := p.configure(s); err != nil {
			t.Fatal(err)
		}
		if err := p.put(from, entry{[4]byte{192, 0, 2, 2}, row.flags}); err != nil {
			t.Fatal(err)
		}
		got, out, err := bpf.Run(p.rx.fd, row.frame)
		if err != nil {
			t.Fatal(err)
		}
		is := gpe
		switch {
		case got == actPass && bytes.Equal(out, row.frame):
			is = untouched
		case got == actRedirect && bytes.Equal(out, append(bytes.Clone(row.frame[:14]), row.frame[42:]...)):
			is = plain
		default:
			mustBeGPE(t, row.name, row.frame, out)
		}
		if is != row.want {
			t.Errorf("%s: %s, want %s", row.name, is, row.want)
		}
	}
}
