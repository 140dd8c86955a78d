package fastpath

import (
	"errors"
	"fmt"
	"net/netip"
)

// What programs return, in linux/pkt_cls.h.
const (
	actPass, actDrop, actRedirect = ^uint32(0), 2, 7
)

// A packet of the host 192.0.2.1, which has 8.0.1.0/24, to the host 192.0.2.2, which has
// 10.5.2.0/24, and what comes before it. The subnet is 8.0 since a test run looks for a
// frame's type where tx, at a device without frames, has the source: 0x0800 is IPv4.
const (
	trialPacket = "\x45\x00\x00\x2c\x00\x00\x00\x00\x3f\x11\x66\xac\x08\x00\x01\x09\x0a\x05\x02\x08" + // TTL 63, UDP
		"\x00\x01\x00\x02\x00\x18\x00\x00" + "sixteen bytes..."
	trialOuter = "\x45\x00\x00\x48\x00\x00\x40\x00\x40\x11\xb6\xa1\xc0\x00\x02\x01\xc0\x00\x02\x02" +
		"\x20\x5d\x20\x5d\x00\x34\x00\x00" // port 8285
	trialGPE = "\x45\x00\x00\x50\x00\x00\x40\x00\x40\x11\xb6\x99\xc0\x00\x02\x01\xc0\x00\x02\x02" +
		"\x20\x5d\x12\xb6\x00\x3c\x00\x00" + "\x0c\x00\x00\x01\x00\x00\x01\x00" // port 4790
	trialFrame = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00" // for the loopback device
)

// try runs tx as of the first host and rx as of the second, before either is attached. An
// error says what the kernel does not do as it must. Run is bpf.Run; what was tried leaves
// nothing in the maps.
func (p *programs) try(run func(program int, frame []byte) (uint32, []byte, error)) (err error) {
	first, second := netip.MustParsePrefix("8.0.1.0/24"), netip.MustParsePrefix("10.5.2.0/24")
	sender := settings{Own: [4]byte{192, 0, 2, 1}, Subnet: first.Addr().As4(), Mask: [4]byte{255, 255, 255, 0}, Underlay: 1, MTU: 1472,
		Secret: 1, Port: inPacket(8285), GPEPort: inPacket(gpePort)}
	receiver := sender
	receiver.Own, receiver.Subnet = [4]byte{192, 0, 2, 2}, second.Addr().As4()
	const loopback = 1
	err = errors.Join(p.attach(loopback), p.put(first, entry{sender.Own, takeRx}), p.put(second, entry{receiver.Own, takeTx}))
	defer func() {
		err = errors.Join(err, p.remove(first), p.remove(second), p.detach(), p.uncount(), p.configure(settings{}))
	}()
	if err != nil {
		return err
	}
	const sent, received = trialFrame + trialOuter + trialPacket, trialFrame + trialPacket
	for _, t := range []struct {
		name     string
		program  program
		settings settings
		mode     uint32
		in       string
		result   uint32
		out      string
	}{
		{"tx", p.tx, sender, modePlain, trialPacket, actRedirect, sent},
		{"rx", p.rx, receiver, modePlain, sent, actRedirect, received},
		{"rx", p.rx, receiver, modeGPE, sent, actPass, trialFrame + trialGPE + trialPacket},
	} {
		t.settings.Mode = t.mode
		if err := p.configure(t.settings); err != nil {
			return err
		}
		result, out, err := run(t.program.fd, []byte(t.in))
		if err != nil {
			return fmt.Errorf("try program %s: %w", t.name, err)
		}
		if t.program == p.tx && len(out) == len(t.out) { // what a test run takes for the frame's header is overwritten
			copy(out, trialFrame)
			copy(out[len(trialFrame+trialOuter):], trialPacket[:len(trialFrame)])
		}
		if result != t.result || string(out) != t.out {
			return fmt.Errorf("try program %s: the kernel returns %d and makes % x of % x, want %d and % x", t.name, int32(result), out, t.in, int32(t.result), t.out)
		}
	}
	return nil
}
