package offload_test

import (
	"encoding/binary"
	"fmt"

	"flanneld/pkg/checksum"
	"flanneld/pkg/offload"
)

// A packet of 3 kB from the device crosses the wire as three datagrams, and
// becomes one write to the device on the other side.
func Example() {
	// What a read of the device returned.
	buf := make([]byte, offload.HeaderLen+40+3000)
	readDevice(buf)

	// One host sends: each segment is a datagram, from two pieces of memory.
	h, err := offload.DecodeHeader(buf)
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := offload.ParseIPv4(buf[offload.HeaderLen:])
	if err != nil || !p.DecrementTTL() {
		fmt.Println("drop", err)
		return
	}
	var splitter offload.Splitter
	if err := splitter.Start(h, p); err != nil {
		fmt.Println(err)
		return
	}
	var wire [][]byte
	arena := make([]byte, splitter.Left()*splitter.HeadLen())
	for splitter.Left() > 0 {
		segment := splitter.Next(arena)
		arena = arena[splitter.HeadLen():]
		wire = append(wire, append(segment.Head, segment.Payload...)) // stands for sendmsg
		fmt.Println("datagram of", segment.Len())
	}

	// The other receives, in one batch.
	coalescer := offload.Coalescer{UDP: true, Emit: func(h offload.Header, pieces [][]byte) {
		fmt.Printf("write %+v and %d pieces\n", h, len(pieces)) // stands for writev
	}}
	for _, datagram := range wire {
		p, err := offload.ParseIPv4(datagram)
		if err != nil || !p.DecrementTTL() {
			continue
		}
		coalescer.Add(p)
	}
	coalescer.Flush()

	// Output:
	// datagram of 1240
	// datagram of 1240
	// datagram of 640
	// write {Flags:1 GSOType:1 HdrLen:40 GSOSize:1200 CsumStart:20 CsumOffset:16} and 3 pieces
}

// readDevice fills b as a device does that hands out TCP packets uncut.
func readDevice(b []byte) {
	offload.Header{
		Flags:      offload.NeedsChecksum,
		GSOType:    offload.GSOTCP4,
		HdrLen:     40,
		GSOSize:    1200,
		CsumStart:  20,
		CsumOffset: 16,
	}.Encode(b)
	p := b[offload.HeaderLen:]
	copy(p, []byte{0x45, 0, byte(len(p) >> 8), byte(len(p)), 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 1, 2, 10, 1, 2, 2})
	copy(p[20:], []byte{0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0})
	binary.BigEndian.PutUint16(p[10:], checksum.Sum(0).Add(p[:20]).Checksum())
	// Of the transport checksum only the pseudo-header is done.
	pseudo := checksum.PseudoHeader4([4]byte(p[12:16]), [4]byte(p[16:20]), 6, uint16(len(p)-20))
	binary.BigEndian.PutUint16(p[36:], pseudo.Fold())
}
