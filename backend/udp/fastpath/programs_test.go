package fastpath

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/backend/udp/engine"
	"flanneld/pkg/bpf"
	"flanneld/pkg/checksum"
)

// mustLoad loads the programs, with the loopback device in the place of flannel0.
func mustLoad(t *testing.T) *programs {
	t.Helper()
	p := mustLoadWithoutDevice(t)
	if err := p.attach(1); err != nil {
		t.Fatal(err)
	}
	return p
}

func mustLoadWithoutDevice(t *testing.T) *programs {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to load programs")
	}
	p, err := loadAsTheUnit(t)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// loadAsTheUnit loads the programs with no more rights than the unit gives: without
// CAP_PERFMON the verifier refuses some of what compilers make.
func loadAsTheUnit(t *testing.T) (p *programs, err error) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all [2]unix.CapUserData
	if err := unix.Capget(&header, &all[0]); err != nil {
		t.Fatal(err)
	}
	few := all
	few[0].Effective = all[0].Effective & (1 << unix.CAP_NET_ADMIN)
	few[1].Effective = all[1].Effective & (1 << (unix.CAP_BPF - 32))
	if err := unix.Capset(&header, &few[0]); err != nil {
		t.Fatal(err)
	}
	p, err = load()
	if err := unix.Capset(&header, &all[0]); err != nil {
		t.Fatal(err)
	}
	return p, err
}

var testSettings = settings{
	Own: [4]byte{192, 0, 2, 1}, Subnet: [4]byte{10, 5, 1, 0}, Mask: [4]byte{255, 255, 255, 0}, Underlay: 1, MTU: 1472,
	Secret: 77, Port: [2]byte{0x20, 0x5d}, GPEPort: [2]byte{0x12, 0xb6}, ProbeIn: [2]byte{7, 7},
}

// packet returns an IPv4 packet with a checksum.
func packet(src, dst string, ttl, protocol byte, payload []byte) []byte {
	p := make([]byte, 20, 20+len(payload))
	p[0], p[8], p[9] = 0x45, ttl, protocol
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(payload)))
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(p[12:], s[:])
	copy(p[16:], d[:])
	binary.BigEndian.PutUint16(p[10:], checksum.Sum(0).Add(p).Checksum())
	return append(p, payload...)
}

func datagram(src, dst string, to uint16, payload []byte) []byte {
	u := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(u, 8285)
	binary.BigEndian.PutUint16(u[2:], to)
	binary.BigEndian.PutUint16(u[4:], uint16(8+len(payload)))
	p := packet(src, dst, 64, unix.IPPROTO_UDP, append(u, payload...))
	p[6] = 0x40
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], checksum.Sum(0).Add(p[:20]).Checksum())
	return p
}

// frame returns an Ethernet frame for the loopback device, which test runs are for.
func frame(ip []byte) []byte { return append(append(make([]byte, 12, 14+len(ip)), 8, 0), ip...) }

// with returns a copy with another byte.
func with(b []byte, at int, v byte) []byte {
	c := bytes.Clone(b)
	c[at] = v
	return c
}

// remarked returns a copy of an IPv4 packet with another TOS.
func remarked(p []byte, tos byte) []byte {
	c := with(with(with(p, 1, tos), 10, 0), 11, 0)
	binary.BigEndian.PutUint16(c[10:], checksum.Sum(0).Add(c[:20]).Checksum())
	return c
}

// TestReceived holds rx to the engine's rules: the sender is a host, the packet's source in
// its subnet, its destination in ours; whatever is not surely so goes to the engine.
func TestReceived(t *testing.T) {
	p := mustLoad(t)
	for subnet, e := range map[string]entry{
		"10.5.2.0/24": {[4]byte{192, 0, 2, 2}, takeRx}, "10.5.3.0/24": {[4]byte{192, 0, 2, 3}, 0}, "10.5.2.128/25": {[4]byte{192, 0, 2, 4}, takeRx},
	} {
		if err := p.put(netip.MustParsePrefix(subnet), e); err != nil {
			t.Fatal(err)
		}
	}
	udp := append([]byte{0, 1, 0, 2, 0, 24, 0, 0}, "sixteen bytes..."...)
	good := packet("10.5.2.9", "10.5.1.8", 63, unix.IPPROTO_UDP, udp)
	outer := datagram("192.0.2.2", "192.0.2.1", 8285, good)
	ping := packet("10.5.3.0", "10.5.1.0", 63, unix.IPPROTO_ICMP, []byte{0, 0, 0, 0, 7, 7, 0, 1})
	asked := func(id uint16) []byte {
		return packet("10.5.2.0", "10.5.1.0", 63, unix.IPPROTO_ICMP, []byte{0, 0, 0, 0, byte(id >> 8), byte(id), 0, 1})
	}
	for _, row := range []struct {
		name  string
		frame []byte
		want  uint32
	}{
		{"a peer's", frame(outer), actRedirect},
		{"the longest subnet has another host", frame(datagram("192.0.2.2", "192.0.2.1", 8285, packet("10.5.2.129", "10.5.1.8", 63, 17, udp))), actPass},
		{"that host's", frame(datagram("192.0.2.4", "192.0.2.1", 8285, packet("10.5.2.129", "10.5.1.8", 63, 17, udp))), actRedirect},
		{"an answer to the engine's ping", frame(datagram("192.0.2.2", "192.0.2.1", 8285, asked(engine.ProbeID))), actPass},
		{"an answer to a ping of the host's", frame(datagram("192.0.2.2", "192.0.2.1", 8285, asked(engine.ProbeID+1))), actRedirect},
		{"with a mark of congestion outside", frame(remarked(outer, 3)), actRedirect},
		{"another sender", frame(datagram("192.0.2.3", "192.0.2.1", 8285, good)), actPass},
		{"a source that is nobody's", frame(datagram("192.0.2.2", "192.0.2.1", 8285, packet("10.5.9.9", "10.5.1.8", 63, 17, udp))), actPass},
		{"a destination that is not ours", frame(datagram("192.0.2.2", "192.0.2.1", 8285, packet("10.5.2.9", "10.5.7.8", 63, 17, udp))), actPass},
		{"a peer that has not announced", frame(datagram("192.0.2.3", "192.0.2.1", 8285, packet("10.5.3.9", "10.5.1.8", 63, 17, udp))), actPass},
		{"an answer to a ping of ours, of such a peer", frame(datagram("192.0.2.3", "192.0.2.1", 8285, ping)), actPass},
		{"an answer to another ping", frame(datagram("192.0.2.3", "192.0.2.1", 8285, with(ping, 25, 9))), actPass},
		{"to another address", frame(datagram("192.0.2.2", "192.0.2.7", 8285, good)), actPass},
		{"to another port", frame(datagram("192.0.2.2", "192.0.2.1", 8472, good)), actPass},
		{"VXLAN-GPE from outside", frame(datagram("192.0.2.2", "192.0.2.1", 4790, good)), actDrop},
		{"a train", frame(datagram("192.0.2.2", "192.0.2.1", 8285, append(bytes.Clone(good), good...))), actPass},
		{"a first fragment", frame(with(outer, 6, 0x20)), actPass},
		{"a later fragment", frame(with(outer, 7, 9)), actPass},
		{"outer options", frame(with(outer, 0, 0x46)), actPass},
		{"TCP", frame(with(outer, 9, 6)), actPass},
		{"IPv6", with(frame(outer), 12, 0x86), actPass},
		{"VLAN", append(append(make([]byte, 12), 0x81, 0, 0, 5, 8, 0), outer...), actPass},
		{"for another machine", with(frame(outer), 0, 2), actPass},
		{"TTL 1", frame(datagram("192.0.2.2", "192.0.2.1", 8285, packet("10.5.2.9", "10.5.1.8", 1, 17, udp))), actPass},
		{"an inner header of 16 bytes", frame(with(outer, 28, 0x44)), actPass},
		{"inner IPv6", frame(with(outer, 28, 0x65)), actPass},
		{"cut off", frame(outer)[:14+28+10], actPass},
		{"longer than it says", append(frame(outer), 0), actPass},
		{"empty", frame(datagram("192.0.2.2", "192.0.2.1", 8285, nil)), actPass},
	} {
		for mode, name := range map[uint32]string{modePlain: "plain", modeGPE: "gpe"} {
			s := testSettings
			s.Mode = mode
			if err := p.configure(s); err != nil {
				t.Fatal(err)
			}
			got, out, err := bpf.Run(p.rx.fd, row.frame)
			if err != nil {
				t.Fatalf("%s: %v", row.name, err)
			}
			want := row.want
			taken := want == actRedirect || bytes.Contains(row.frame, ping)
			if mode == modeGPE && want == actRedirect {
				want = actPass
			}
			if got != want {
				t.Errorf("%s, %s: returned %d, want %d", row.name, name, got, want)
			}
			switch {
			case !taken:
				if !bytes.Equal(out, row.frame) {
					t.Errorf("%s, %s: the frame was changed", row.name, name)
				}
			case got == actRedirect:
				if want := append(bytes.Clone(row.frame[:14]), row.frame[42:]...); !bytes.Equal(out, want) {
					t.Errorf("%s: without outer headers it is\n%swant\n%s", row.name, hex.Dump(out), hex.Dump(want))
				}
			default:
				mustBeGPE(t, row.name, row.frame, out)
			}
		}
	}
	if sum, err := p.count(); err != nil || sum.Closed != 2 || sum.RxPackets != 10 || sum.ToGPE != 6 || sum.Errors != 0 {
		t.Errorf("counted %+v, %v", sum, err)
	}
}

// mustBeGPE holds what rx made of a frame to RFC 9699 without an Ethernet header.
func mustBeGPE(t *testing.T, name string, in, out []byte) {
	t.Helper()
	ip, n := out[14:], binary.BigEndian.Uint16
	if len(out) != len(in)+8 || !bytes.Equal(out[14+36:], in[14+28:]) || !bytes.Equal(ip[28:36], []byte{0x0c, 0, 0, 1, 0, 0, 1, 0}) ||
		n(ip[2:]) != n(in[16:])+8 || n(ip[24:]) != n(in[38:])+8 || n(ip[22:]) != 4790 || n(ip[26:]) != 0 || checksum.Sum(0).Add(ip[:20]).Fold() != 0xffff {
		t.Errorf("%s: as VXLAN-GPE it is\n%sof\n%s", name, hex.Dump(out), hex.Dump(in))
	}
}

// TestSent runs tx on packets whose source makes the test run take them for IPv4: it looks
// for the type where Ethernet has it, and tx is at a device without that.
func TestSent(t *testing.T) {
	p := mustLoad(t)
	for subnet, flags := range map[string]uint32{"10.5.2.0/24": takeTx, "10.5.3.0/24": takeRx} {
		if err := p.put(netip.MustParsePrefix(subnet), entry{[4]byte{192, 0, 2, 2}, flags}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.configure(testSettings); err != nil {
		t.Fatal(err)
	}
	good := packet("8.0.1.9", "10.5.2.8", 63, unix.IPPROTO_UDP, make([]byte, 100))
	ping := packet("8.0.1.9", "10.5.3.0", 63, unix.IPPROTO_ICMP, wayPing(8))
	for _, row := range []struct {
		name   string
		packet []byte
		want   uint32
	}{
		{"to a peer", good, actRedirect},
		{"to a peer that is not reached yet", packet("8.0.1.9", "10.5.3.8", 63, 17, make([]byte, 100)), actPass},
		{"an ask to that", ping, actRedirect},
		{"an answer to that", with(ping, 20, 0), actPass},
		{"somebody's ping to that", with(ping, 25, 7), actPass},
		{"a ping with the same id", with(ping, 28, 7), actPass},
		{"with a class and ECN, which stay inside, as the engine has it", remarked(good, 0xba), actRedirect},
		{"to nobody", packet("8.0.1.9", "10.5.9.8", 63, 17, make([]byte, 100)), actPass},
		{"TTL 1", packet("8.0.1.9", "10.5.2.8", 1, 17, make([]byte, 100)), actPass},
		{"of the greatest length", packet("8.0.1.9", "10.5.2.8", 63, 17, make([]byte, 1452)), actRedirect},
		{"longer than the device's MTU", packet("8.0.1.9", "10.5.2.8", 63, 17, make([]byte, 1453)), actPass},
		{"longer than it says", append(bytes.Clone(good), 0), actPass},
		{"no IPv4", with(good, 0, 0x65), actPass},
	} {
		got, out, err := bpf.Run(p.tx.fd, row.packet)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if got != row.want {
			t.Errorf("%s: returned %d, want %d", row.name, got, row.want)
		}
		if got != actRedirect {
			if !bytes.Equal(out, row.packet) {
				t.Errorf("%s: the packet was changed", row.name)
			}
			continue
		}
		// An Ethernet header, then ours. What the test run takes for the Ethernet header of
		// before is overwritten.
		want := datagram("192.0.2.1", "192.0.2.2", 8285, row.packet)[:28]
		if len(out) != len(row.packet)+42 || !bytes.Equal(out[14:42], want) || !bytes.Equal(out[56:], row.packet[14:]) {
			t.Errorf("%s: became\n%s", row.name, hex.Dump(out))
		}
	}
	if sum, err := p.count(); err != nil || sum.TxPackets != 4 || sum.TxUp != 2 || sum.Errors != 0 {
		t.Errorf("counted %+v, %v", sum, err)
	}
}

// TestOnlyWhatRxSentComesByTheDevice with VXLAN-GPE: a frame has no priority from outside.
func TestOnlyWhatRxSentComesByTheDevice(t *testing.T) {
	p := mustLoad(t)
	if err := p.configure(testSettings); err != nil {
		t.Fatal(err)
	}
	got, _, err := bpf.Run(p.gpe.fd, frame(packet("10.5.2.9", "10.5.1.8", 63, 17, make([]byte, 20))))
	sum, _ := p.count()
	if err != nil || got != actDrop || sum.GPEStrangers != 1 {
		t.Errorf("gpe returned %d, %v, counted %+v", got, err, sum)
	}
}

// TestNothingIsTakenWithoutADevice to give it to.
func TestNothingIsTakenWithoutADevice(t *testing.T) {
	p := mustLoadWithoutDevice(t)
	frame := frame(datagram("192.0.2.2", "192.0.2.1", 4790, make([]byte, 40)))
	for _, prog := range []program{p.tx, p.rx} {
		if got, out, err := bpf.Run(prog.fd, frame); err != nil || got != actPass || !bytes.Equal(out, frame) {
			t.Errorf("returned %d, %v", got, err)
		}
	}
	if err := errors.Join(p.configure(testSettings), p.put(netip.MustParsePrefix("10.5.2.0/24"), entry{[4]byte{192, 0, 2, 2}, takeRx})); err != nil {
		t.Fatal(err)
	}
	frame = append(frame[:14], datagram("192.0.2.2", "192.0.2.1", 8285, packet("10.5.2.9", "10.5.1.8", 63, 17, make([]byte, 20)))...)
	if got, out, err := bpf.Run(p.rx.fd, frame); err != nil || got != actPass || !bytes.Equal(out, frame) {
		t.Errorf("a whole packet: returned %d, %v", got, err)
	}
}

// TestSuperPackets are taken where the kernel can unpack them again: not with IP options. A
// test run refuses to change one, which it does with those of a tunnel inside the overlay, too:
// then the engine has it as it was.
func TestSuperPackets(t *testing.T) {
	p := mustLoad(t)
	for subnet, flags := range map[string]uint32{"10.5.2.0/24": takeTx, "8.0.1.0/24": takeRx} {
		if err := p.put(netip.MustParsePrefix(subnet), entry{[4]byte{192, 0, 2, 2}, flags}); err != nil {
			t.Fatal(err)
		}
	}
	s := testSettings
	s.Subnet = [4]byte{10, 5, 2, 0}
	if err := p.configure(s); err != nil {
		t.Fatal(err)
	}
	long := packet("8.0.1.9", "10.5.2.8", 63, unix.IPPROTO_TCP, make([]byte, 3000))
	options := with(long, 0, 0x46)
	for _, row := range []struct {
		name    string
		program program
		frame   []byte
		segment uint32
		want    tally
	}{
		{"sent", p.tx, long, 1432, tally{Refused: 1}},
		{"sent, no super-packet", p.tx, long, 0, tally{TxUp: 1}},
		{"sent, too long a segment", p.tx, long, 1433, tally{TxUp: 1}},
		{"sent, with options", p.tx, options, 1432, tally{TxUp: 1}},
		{"received", p.rx, frame(datagram("192.0.2.2", "192.0.2.1", 8285, long)), 1432, tally{Refused: 1}},
		{"received, with options", p.rx, frame(datagram("192.0.2.2", "192.0.2.1", 8285, options)), 1432, tally{RxUp: 1}},
	} {
		for mode := range uint32(2) {
			s.Mode = mode
			if err := errors.Join(p.configure(s), p.uncount()); err != nil {
				t.Fatal(err)
			}
			got, out, err := bpf.RunSuper(row.program.fd, row.frame, row.segment)
			if err != nil || got != actPass || !bytes.Equal(out, row.frame) {
				t.Errorf("%s: returned %d, %v; unchanged %v", row.name, int32(got), err, bytes.Equal(out, row.frame))
			}
			if sum, err := p.count(); err != nil || sum != row.want {
				t.Errorf("%s: counted %+v, %v, want %+v", row.name, sum, err, row.want)
			}
		}
	}
}
