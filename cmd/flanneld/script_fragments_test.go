package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab/script"
)

// fragments sends a frame from one host to VXLAN 1 of another in fragments of IPv6,
// the first of which has so many bytes, a multiple of eight: from eight on it has the
// header of UDP, and before 24 not the frame. In the frame is an empty packet for the
// host's container, from an address in the overlay that no host has.
func fragments(s *script.Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err != nil {
		return "", err
	}
	target, err := s.Find(args[1])
	if err != nil {
		return "", err
	}
	first, err := strconv.Atoi(args[2])
	if err != nil {
		return "", script.Mistake("%v", err)
	}
	address, err := target.Output("cat", "/sys/class/net/flannel-v6.1/address")
	if err != nil {
		return "", err
	}
	mac, err := net.ParseMAC(strings.TrimSpace(address))
	if err != nil {
		return "", script.Mistake("%v", err)
	}
	from, to := n.Addr6().Addr(), target.Addr6().Addr()
	innerFrom, innerTo := netip.MustParseAddr("fd00:100:0:ffff::9"), target.Web().Addr6().Addr()
	const none = 59 // next header
	frame := append(append(append([]byte{}, mac...), 2, 0, 0, 0, 0, 0x66), 0x86, 0xdd)
	frame = append(frame, ipv6(innerFrom, innerTo, none, nil)...)
	datagram := udp6(from, to, 8472, append([]byte{8, 0, 0, 0, 0, 0, 1, 0}, frame...)) // RFC 7348

	var socket int
	if err := n.Enter(func() (err error) {
		socket, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	}); err != nil {
		return "", err
	}
	defer unix.Close(socket)
	for offset := 0; offset < len(datagram); {
		part, more := datagram[offset:], uint16(0)
		if offset == 0 && first < len(part) {
			part, more = part[:first], 1
		}
		header := []byte{unix.IPPROTO_UDP, 0}
		header = binary.BigEndian.AppendUint16(header, uint16(offset)|more)
		header = binary.BigEndian.AppendUint32(header, uint32(first)) // of this datagram alone
		packet := ipv6(from, to, unix.IPPROTO_FRAGMENT, append(header, part...))
		if err := unix.Sendto(socket, packet, 0, &unix.SockaddrInet6{Addr: to.As16()}); err != nil {
			return "", fmt.Errorf("send fragment: %w", err)
		}
		offset += len(part)
	}
	return "", nil
}

func ipv6(from, to netip.Addr, next byte, payload []byte) []byte {
	p := []byte{0x60, 0, 0, 0}
	p = binary.BigEndian.AppendUint16(p, uint16(len(payload)))
	p = append(p, next, 64)
	p = append(append(p, from.AsSlice()...), to.AsSlice()...)
	return append(p, payload...)
}

func udp6(from, to netip.Addr, port uint16, payload []byte) []byte {
	length := uint16(8 + len(payload))
	d := binary.BigEndian.AppendUint16(nil, 40000)
	d = binary.BigEndian.AppendUint16(d, port)
	d = binary.BigEndian.AppendUint16(d, length)
	d = append(append(d, 0, 0), payload...)
	pseudo := append(append(from.AsSlice(), to.AsSlice()...), 0, 0, byte(length>>8), byte(length), 0, 0, 0, unix.IPPROTO_UDP)
	all := append(pseudo, d...)
	if len(all)%2 != 0 {
		all = append(all, 0)
	}
	var sum uint32
	for i := 0; i < len(all); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(all[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(d[6:], ^uint16(sum))
	return d
}
