package doctor

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"flanneld/backend"
)

// traffic is how many packets of the overlay passed the external interface.
type traffic struct{ out, in int }

// sniffer counts what of the overlay leaves by an interface and comes in, outside of all rules
// of the packet filter.
type sniffer struct {
	fd     int
	port   uint16 // of the tunnel; zero: packets come without one
	ends   chan struct{}
	reader sync.WaitGroup
	from   map[netip.Addr]int // of the reader until it has ended
	to     map[netip.Addr]int
}

// sniff begins to look at the overlay's packets on the external interface.
func sniff(u backend.Underlay, in backend.Ingress, network netip.Prefix) (*sniffer, error) {
	proto := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("see packets of %s: %w", u.Name, err)
	}
	s := &sniffer{fd: fd, port: in.Port, ends: make(chan struct{}), from: make(map[netip.Addr]int), to: make(map[netip.Addr]int)}
	program, err := bpf.Assemble(wantedPackets(in.Port, network))
	if err == nil {
		raw := make([]unix.SockFilter, len(program))
		for i, p := range program {
			raw[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
		}
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]})
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: u.Index})
	}
	if err == nil {
		wait := unix.NsecToTimeval(int64(100 * time.Millisecond))
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("see packets of %s: %w", u.Name, err)
	}
	s.reader.Go(s.read)
	return s, nil
}

// wantedPackets is a program that passes IPv4 datagrams to a port and, if there is none, what
// goes to the network or comes from it.
func wantedPackets(port uint16, network netip.Prefix) []bpf.Instruction {
	const whole = 64 // bytes: the headers
	pass, drop := bpf.RetConstant{Val: whole}, bpf.RetConstant{Val: 0}
	version := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x40, SkipTrue: 1}, drop,
	}
	if port != 0 {
		return append(version,
			bpf.LoadAbsolute{Off: 9, Size: 1}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 1}, drop,
			bpf.LoadMemShift{Off: 0}, bpf.LoadIndirect{Off: 2, Size: 2}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: 1}, drop, pass)
	}
	a := network.Masked().Addr().As4()
	net, mask := binary.BigEndian.Uint32(a[:]), ^uint32(0)<<(32-network.Bits())
	return append(version,
		bpf.LoadAbsolute{Off: 12, Size: 4}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: net, SkipTrue: 4},
		bpf.LoadAbsolute{Off: 16, Size: 4}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: net, SkipTrue: 1}, drop, pass)
}

// read counts until end is called.
func (s *sniffer) read() {
	b := make([]byte, 64)
	for {
		n, _, err := unix.Recvfrom(s.fd, b, 0)
		if from, to, ok := addresses(b[:max(n, 0)]); err == nil && ok {
			s.from[from]++
			s.to[to]++
		}
		select {
		case <-s.ends:
			if err != nil { // there is no more
				return
			}
		default:
		}
	}
}

// end stops counting.
func (s *sniffer) end() {
	close(s.ends)
	s.reader.Wait()
	_ = unix.Close(s.fd)
}

// addresses returns those of an IPv4 packet.
func addresses(b []byte) (from, to netip.Addr, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return from, to, false
	}
	return netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), true
}

// between returns what went to a peer and came from it, after end: at the address of its
// tunnel, or at that inside the overlay where there is none.
func (s *sniffer) between(outside, inside netip.Addr) traffic {
	at := outside
	if s.port == 0 {
		at = inside
	}
	return traffic{out: s.to[at], in: s.from[at]}
}
