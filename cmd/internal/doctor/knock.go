package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/checksum"
)

// knockPort is one that hardly any host listens at: a refusal is an answer, too.
const knockPort = 1

// knockTime is how long an answer to TCP may take, with two repetitions of the kernel's.
const knockTime = 3500 * time.Millisecond

// knock asks a peer by TCP: by the kernel's, whose checksum may be left to a device, and, if
// that has no answer, with one that is computed here. The number tells what is asked at one time apart.
func knock(ctx context.Context, to netip.Addr, number int) (kernels, byHand bool) {
	ctx, cancel := context.WithTimeout(ctx, knockTime)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", netip.AddrPortFrom(to, knockPort).String())
	if err == nil {
		_ = c.Close()
	}
	if err == nil || errors.Is(err, unix.ECONNREFUSED) {
		return true, true
	}
	// Which address this host sends from is known by a socket that sends nothing.
	u, err := net.Dial("udp", netip.AddrPortFrom(to, knockPort).String())
	if err != nil {
		return false, false
	}
	from := u.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	_ = u.Close()
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return false, false
	}
	defer func() { _ = unix.Close(raw) }()
	const tries = 3
	for i := range tries {
		if byHandTo(raw, from, to, uint16(41000+number*tries+i)) {
			return false, true
		}
	}
	return false, false
}

// byHandTo sends a SYN, and waits for an answer to it.
func byHandTo(raw int, from, to netip.Addr, port uint16) bool {
	segment := synOf(from, to, port, knockPort)
	if unix.Sendto(raw, segment, 0, &unix.SockaddrInet4{Addr: to.As4()}) != nil {
		return false
	}
	wait := unix.NsecToTimeval(int64(200 * time.Millisecond))
	_ = unix.SetsockoptTimeval(raw, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	b := make([]byte, 128)
	for until := time.Now().Add(time.Second); time.Now().Before(until); {
		n, _, err := unix.Recvfrom(raw, b, 0)
		if err == nil && answersSYN(b[:n], to, port) {
			return true
		}
	}
	return false
}

// synOf returns a TCP segment that asks for a connection (RFC 9293, 3.1), with its checksum.
func synOf(from, to netip.Addr, source, destination uint16) []byte {
	s := make([]byte, 20)
	binary.BigEndian.PutUint16(s[0:], source)
	binary.BigEndian.PutUint16(s[2:], destination)
	binary.BigEndian.PutUint32(s[4:], uint32(time.Now().UnixNano()))
	s[12], s[13] = 5<<4, 2 // 20 bytes; SYN
	binary.BigEndian.PutUint16(s[14:], 1024)
	sum := checksum.PseudoHeader4(from.As4(), to.As4(), unix.IPPROTO_TCP, uint16(len(s)))
	binary.BigEndian.PutUint16(s[16:], sum.Add(s).Checksum())
	return s
}

// answersSYN reports whether a packet with its IPv4 header answers such a segment.
func answersSYN(p []byte, from netip.Addr, port uint16) bool {
	source, _, ok := addresses(p)
	if !ok || source != from || p[9] != unix.IPPROTO_TCP {
		return false
	}
	p = p[min(int(p[0]&15)*4, len(p)):]
	return len(p) >= 20 && binary.BigEndian.Uint16(p) == knockPort && binary.BigEndian.Uint16(p[2:]) == port
}

// badChecksums returns how many TCP segments came to this namespace with a wrong checksum.
func badChecksums() int {
	text, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		return 0
	}
	return snmpValue(string(text), "Tcp", "InCsumErrors")
}

// snmpValue reads a value of /proc/net/snmp: of each protocol there is a line of names and one
// of values. It is 0 if there is none.
func snmpValue(text, protocol, name string) int {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != protocol+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, n := range names {
			if n == name && i < len(fields) {
				value, _ := strconv.Atoi(fields[i])
				return value
			}
		}
	}
	return 0
}

// absent returns the addresses that were asked for by ARP in vain.
func absent() map[netip.Addr]bool {
	text, err := os.ReadFile("/proc/thread-self/net/arp")
	if err != nil {
		return nil
	}
	return unanswered(string(text))
}

// unanswered reads /proc/net/arp: a line of names, then one for each entry, of which the third
// field is 0x0 while nobody has answered.
func unanswered(text string) map[netip.Addr]bool {
	all := make(map[netip.Addr]bool)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != "0x0" {
			continue
		}
		if a, err := netip.ParseAddr(fields[0]); err == nil {
			all[a] = true
		}
	}
	return all
}
