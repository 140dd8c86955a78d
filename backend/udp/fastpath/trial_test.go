package fastpath

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/bpf"
)

// TestTrialPackets are what hosts send each other.
func TestTrialPackets(t *testing.T) {
	inner := packet("8.0.1.9", "10.5.2.8", 63, unix.IPPROTO_UDP, []byte("\x00\x01\x00\x02\x00\x18\x00\x00sixteen bytes..."))
	if trialPacket != string(inner) {
		t.Errorf("the packet is %x, want %x", trialPacket, inner)
	}
	outer := datagram("192.0.2.1", "192.0.2.2", 8285, inner)
	if trialOuter+trialPacket != string(outer) {
		t.Errorf("the datagram is %x, want %x", trialOuter+trialPacket, outer)
	}
	gpe := datagram("192.0.2.1", "192.0.2.2", gpePort, append([]byte{0x0c, 0, 0, 1, 0, 0, 1, 0}, inner...))
	if trialGPE+trialPacket != string(gpe) {
		t.Errorf("as VXLAN-GPE it is %x, want %x", trialGPE+trialPacket, gpe)
	}
}

// TestAKernelThatDoesWrongIsNotUsed whatever it does wrong, and with whichever program.
func TestAKernelThatDoesWrongIsNotUsed(t *testing.T) {
	p := mustLoadWithoutDevice(t)
	tries := 0
	err := p.try(func(program int, frame []byte) (uint32, []byte, error) {
		tries++
		return bpf.Run(program, frame)
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]struct {
		by   func(result uint32, out []byte) (uint32, []byte, error)
		want string
	}{
		"refused":       {func(uint32, []byte) (uint32, []byte, error) { return 0, nil, unix.EPERM }, "operation not permitted"},
		"result":        {func(_ uint32, out []byte) (uint32, []byte, error) { return 1, out, nil }, "returns 1 "},
		"a byte":        {func(r uint32, out []byte) (uint32, []byte, error) { out[30] ^= 1; return r, out, nil }, " want "},
		"the last byte": {func(r uint32, out []byte) (uint32, []byte, error) { out[len(out)-1] ^= 1; return r, out, nil }, " want "},
		"cut off":       {func(r uint32, out []byte) (uint32, []byte, error) { return r, out[:20], nil }, " want "},
	} {
		for i := range tries {
			n := 0
			err := p.try(func(program int, frame []byte) (uint32, []byte, error) {
				result, out, err := bpf.Run(program, frame)
				if n++; n == i+1 && err == nil {
					return spoil.by(result, out)
				}
				return result, out, err
			})
			if err == nil || !strings.Contains(err.Error(), spoil.want) || !strings.Contains(err.Error(), "try program ") {
				t.Errorf("%s, try %d: %v", name, i, err)
			}
		}
	}
	if _, err := p.device.Get(encode(uint32(0))); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a device is left: %v", err)
	}
	for _, subnet := range []string{"8.0.1.9", "10.5.2.8"} {
		if _, err := p.peers.Get(append(encode(uint32(32)), packet(subnet, "10.5.2.8", 1, 1, nil)[12:16]...)); !errors.Is(err, unix.ENOENT) {
			t.Errorf("a peer is left at %s: %v", subnet, err)
		}
	}
	if sum, err := p.count(); err != nil || sum != (tally{}) {
		t.Errorf("counted %+v, %v", sum, err)
	}
}
