package udpbatch

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestControlMessagesAreLaidOutAsTheKernelDoes(t *testing.T) {
	if got, want := int(unsafe.Offsetof(sendControl{}.data)), unix.CmsgLen(0); got != want {
		t.Errorf("the value is at %d, want %d", got, want)
	}
	if got, want := int(unsafe.Sizeof(sendControl{})), unix.CmsgSpace(2); got < want {
		t.Errorf("it has %d bytes, want at least %d", got, want)
	}
	if got, want := unsafe.Alignof(receiveControl{}), unsafe.Alignof(unix.Cmsghdr{}); got != want {
		t.Errorf("alignment %d, want %d", got, want)
	}
}

// message is one control message.
func message(level, kind int32, data ...byte) []byte {
	var h unix.Cmsghdr
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	b := make([]byte, unix.CmsgSpace(len(data)))
	copy(b, unsafe.Slice((*byte)(unsafe.Pointer(&h)), unix.SizeofCmsghdr))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func gro(n int32) []byte {
	return message(unix.SOL_UDP, unix.UDP_GRO, binary.NativeEndian.AppendUint32(nil, uint32(n))...)
}

func TestSegment(t *testing.T) {
	other := message(unix.SOL_SOCKET, unix.SO_TIMESTAMP, make([]byte, 9)...)
	huge := gro(1200)
	huge[0], huge[1], huge[2], huge[3] = 0xff, 0xff, 0xff, 0xff
	for name, row := range map[string]struct {
		control []byte
		want    int
	}{
		"nothing":              {nil, 0},
		"a segment":            {gro(1200), 1200},
		"after another":        {append(other, gro(1200)...), 1200},
		"another":              {other, 0},
		"cut short":            {gro(1200)[:unix.SizeofCmsghdr+3], 0},
		"negative":             {gro(-1), 0},
		"more than a datagram": {gro(70000), 0},
		"a length too large":   {huge, 0},
		"zeros":                {make([]byte, 64), 0},
		"two bytes":            {message(unix.SOL_UDP, unix.UDP_GRO, 1, 2), 0},
	} {
		if got := segment(row.control); got != row.want {
			t.Errorf("%s: %d, want %d", name, got, row.want)
		}
	}
}

// FuzzSegment holds the parser to that of the system package.
func FuzzSegment(f *testing.F) {
	f.Add(gro(1200))
	f.Add(append(message(unix.SOL_SOCKET, 29, 1, 2, 3), gro(9)...))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, control []byte) {
		got := segment(control)
		if got < 0 || got > MaxPayload {
			t.Fatalf("segment of %d bytes", got)
		}
		messages, err := unix.ParseSocketControlMessage(control)
		if err != nil {
			return
		}
		want := 0
		for _, m := range messages {
			if m.Header.Level == unix.SOL_UDP && m.Header.Type == unix.UDP_GRO && len(m.Data) >= 4 {
				if want = int(int32(binary.NativeEndian.Uint32(m.Data))); want < 0 || want > MaxPayload {
					want = 0
				}
				break
			}
		}
		if got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	})
}
