package doctor

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"flanneld/pkg/checksum"
)

var here, there = netip.MustParseAddr("10.100.1.0"), netip.MustParseAddr("10.100.2.0")

// ipv4 is a packet with its header.
func ipv4(from, to netip.Addr, protocol byte, payload []byte) []byte {
	p := make([]byte, 20, 20+len(payload))
	p[0], p[9] = 4<<4|5, protocol
	a, b := from.As4(), to.As4()
	copy(p[12:], a[:])
	copy(p[16:], b[:])
	return append(p, payload...)
}

func udpTo(port uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{0x12, 0x34}, port)
}

func TestWantedPacketsAreTheOverlays(t *testing.T) {
	network := netip.MustParsePrefix("10.100.0.0/16")
	for _, tt := range []struct {
		name   string
		port   uint16
		packet []byte
		want   bool
	}{
		{"to the tunnel's port", 8472, ipv4(here, there, unix.IPPROTO_UDP, udpTo(8472)), true},
		{"to another port", 8472, ipv4(here, there, unix.IPPROTO_UDP, udpTo(53)), false},
		{"of TCP", 8472, ipv4(here, there, unix.IPPROTO_TCP, udpTo(8472)), false},
		{"from the network", 0, ipv4(here, netip.MustParseAddr("192.0.2.1"), unix.IPPROTO_ICMP, nil), true},
		{"to the network", 0, ipv4(netip.MustParseAddr("192.0.2.1"), there, unix.IPPROTO_ICMP, nil), true},
		{"of others", 0, ipv4(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.101.0.1"), unix.IPPROTO_ICMP, nil), false},
		{"IPv6", 0, append([]byte{6 << 4}, make([]byte, 60)...), false},
	} {
		vm, err := bpf.NewVM(wantedPackets(tt.port, network))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := vm.Run(tt.packet); (n > 0) != tt.want || err != nil {
			t.Errorf("%s: %d bytes, %v", tt.name, n, err)
		}
	}
}

func TestSegmentsByHandAreRight(t *testing.T) {
	s := synOf(here, there, 41000, knockPort)
	if sum := checksum.PseudoHeader4(here.As4(), there.As4(), unix.IPPROTO_TCP, uint16(len(s))).Add(s).Fold(); sum != 0xffff {
		t.Errorf("its checksum is wrong: %x", sum)
	}
	answer := synOf(there, here, knockPort, 41000)
	for name, tt := range map[string]struct {
		packet []byte
		want   bool
	}{
		"the answer":         {ipv4(there, here, unix.IPPROTO_TCP, answer), true},
		"another host's":     {ipv4(here, here, unix.IPPROTO_TCP, answer), false},
		"to another port":    {ipv4(there, here, unix.IPPROTO_TCP, synOf(there, here, knockPort, 41001)), false},
		"of another port":    {ipv4(there, here, unix.IPPROTO_TCP, synOf(there, here, 2, 41000)), false},
		"cut":                {ipv4(there, here, unix.IPPROTO_TCP, answer[:10]), false},
		"of another kind":    {ipv4(there, here, unix.IPPROTO_UDP, answer), false},
		"nothing but a byte": {[]byte{4 << 4}, false},
	} {
		if got := answersSYN(tt.packet, there, 41000); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestValuesOfSNMP(t *testing.T) {
	const text = "Ip: A B\nIp: 1 2\nTcp: RtoAlgorithm InErrs InCsumErrors\nTcp: 1 5 7\nUdp: InCsumErrors\nUdp: 9\n"
	for _, tt := range []struct {
		protocol, name string
		want           int
	}{{"Tcp", "InCsumErrors", 7}, {"Udp", "InCsumErrors", 9}, {"Tcp", "OutRsts", 0}, {"Icmp", "A", 0}} {
		if got := snmpValue(text, tt.protocol, tt.name); got != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.protocol, tt.name, got, tt.want)
		}
	}
	real, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	if snmpValue(string(real), "Tcp", "RtoAlgorithm") != 1 { // RFC 2012: other
		t.Errorf("the kernel's own cannot be read: %s", real)
	}
}

func TestWhoDoesNotAnswerARP(t *testing.T) {
	got := unanswered(`IP address       HW type     Flags       HW address            Mask     Device
192.168.1.50     0x1         0x0         00:00:00:00:00:00     *        eth0
192.168.1.1      0x1         0x2         02:00:00:00:00:01     *        eth0
10.100.5.0       0x1         0x6         02:00:00:00:00:02     *        flannel.1
none             0x1         0x0
`)
	if want := map[netip.Addr]bool{netip.MustParseAddr("192.168.1.50"): true}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if text, err := os.ReadFile("/proc/thread-self/net/arp"); err != nil || !strings.HasPrefix(string(text), "IP address       HW type     Flags ") {
		t.Errorf("the kernel's own is another table: %v\n%s", err, text)
	}
}

func TestPoolsOfDocker(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		flags      []string
		want       int
		first      string
	}{
		{"neither", "", nil, 6, "172.17.0.0/16"},
		{"a file", `{"default-address-pools": [{"base": "10.96.0.0/11", "size": 24}, {"base": "10.1.2.3/16", "size": 24}]}`, nil, 2, "10.96.0.0/11"},
		{"a file without", `{"mtu": 1450}`, nil, 6, "172.17.0.0/16"},
		{"flags", "", []string{"base=10.9.0.0/16,size=24", "size=24, base=10.8.0.0/16"}, 2, "10.9.0.0/16"},
		{"nonsense", `{"default-address-pools": [{"base": "ten"}]}`, nil, 0, ""},
	} {
		got := poolsOf([]byte(tt.file), tt.flags)
		if len(got) != tt.want || tt.want > 0 && got[0].String() != tt.first {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// FuzzWhatOthersHaveWritten: nothing that is read ends the program.
func FuzzWhatOthersHaveWritten(f *testing.F) {
	f.Add([]byte("Tcp: A\nTcp: 1"))
	f.Add([]byte(`{"default-address-pools":[{"base":"10.0.0.0/8"}],"VNI":1}`))
	f.Add(ipv4(there, here, unix.IPPROTO_TCP, synOf(there, here, knockPort, 41000)))
	p := passage{network: netip.MustParsePrefix("10.100.0.0/16"), own: netip.MustParsePrefix("10.100.5.0/24"), links: []string{"eth0"}}
	f.Fuzz(func(_ *testing.T, data []byte) {
		text := string(data)
		snmpValue(text, "Tcp", "A")
		unanswered(text)
		poolsOf(data, []string{text})
		vni(text)
		parsePEM(data)
		answersSYN(data, there, 41000)
		p.inspect(text, "iptables")
		process{1, []string{text}}.values("bip")
	})
}
