package offload

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/netlab/labtest"
)

// lengths returns how long the emitted packets are.
func lengths(all []emitted) []int {
	var out []int
	for _, e := range all {
		out = append(out, len(e.Packet))
	}
	return out
}

func TestPacketsInARowBecomeOne(t *testing.T) {
	for _, protocol := range []uint8{protoTCP, protoUDP} {
		packets := stream(t, protocol, 5, 1000)
		got := coalesce(packets, true)
		if len(got) != 1 {
			t.Fatalf("protocol %d: emitted %v", protocol, lengths(got))
		}
		if diff := cmp.Diff(naiveCoalesce(packets, true), got); diff != "" {
			t.Errorf("protocol %d (-want +got):\n%s", protocol, diff)
		}
		back, err := split(got[0].Header, got[0].Packet)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(packets, back); diff != "" {
			t.Errorf("protocol %d, cut again (-want +got):\n%s", protocol, diff)
		}
	}
}

func TestPiecesAreTheMemoryThatWasAdded(t *testing.T) {
	packets := stream(t, protoTCP, 2, 1000)
	var got [][]byte
	c := Coalescer{Emit: func(_ Header, pieces [][]byte) { got = append(got, pieces...) }}
	for _, p := range packets {
		c.Add(p)
	}
	c.Flush()
	if len(got) != 2 || &got[0][0] != &packets[0][0] || &got[1][0] != &packets[1][52] {
		t.Errorf("%d pieces, or not in place", len(got))
	}
	c.Flush()
	if len(got) != 2 {
		t.Error("a second Flush emits again")
	}
}

// Of three packets in a row the second is changed, with its checksums made right.
// The rows say what comes out, by length; the reference must agree in each byte.
func TestWhatDiffersIsNotJoined(t *testing.T) {
	set := func(at int, v ...byte) func(*[]byte) { return func(p *[]byte) { copy((*p)[at:], v) } }
	flip := func(at int, bits byte) func(*[]byte) { return func(p *[]byte) { (*p)[at] ^= bits } }
	resize := func(n int) func(*[]byte) {
		return func(p *[]byte) {
			for len(*p) < n {
				*p = append(*p, 7)
			}
			*p = (*p)[:n]
		}
	}
	alone := []int{152, 152, 152}
	pairs := []int{252, 152} // the first two, and then a new start
	for name, c := range map[string]struct {
		change func(*[]byte)
		want   []int
	}{
		"nothing":                  {func(*[]byte) {}, []int{352}},
		"TOS":                      {flip(1, 0x04), alone},
		"congestion experienced":   {flip(1, 0x01), alone},
		"ID":                       {set(4, 0, 5), alone},
		"DF":                       {flip(6, 0x40), alone},
		"reserved IP flag":         {flip(6, 0x80), alone},
		"more fragments":           {flip(6, 0x20), alone},
		"fragment offset":          {flip(7, 0x01), alone},
		"TTL":                      {flip(8, 0x01), alone},
		"source":                   {flip(15, 0x01), alone},
		"destination":              {flip(19, 0x01), alone},
		"source port":              {flip(21, 0x01), alone},
		"destination port":         {flip(23, 0x01), alone},
		"sequence number":          {flip(27, 0x01), alone},
		"acknowledgement":          {flip(31, 0x01), alone},
		"reserved TCP bit":         {flip(32, 0x01), alone},
		"data offset":              {flip(32, 0x10), alone},
		"FIN":                      {flip(33, tcpFIN), alone},
		"SYN":                      {flip(33, 0x02), alone},
		"RST":                      {flip(33, 0x04), alone},
		"PSH ends":                 {flip(33, tcpPSH), pairs},
		"no ACK":                   {flip(33, tcpACK), alone},
		"URG":                      {flip(33, 0x20), alone},
		"ECE":                      {flip(33, 0x40), alone},
		"CWR":                      {flip(33, tcpCWR), alone},
		"window":                   {flip(35, 0x01), alone},
		"urgent pointer":           {flip(39, 0x01), alone},
		"first option":             {flip(40, 0x01), alone},
		"last option":              {flip(51, 0x01), alone},
		"shorter ends":             {resize(151), []int{251, 152}},
		"longer":                   {resize(153), []int{152, 153, 152}},
		"no payload":               {resize(52), []int{152, 52, 152}},
		"IP options":               {func(p *[]byte) { *p = withIPOptions(*p) }, []int{152, 160, 152}},
		"another protocol":         {set(9, 1), alone},
		"TCP header longer than p": {func(p *[]byte) { *p = (*p)[:60]; (*p)[32] = 0xf0 }, []int{152, 60, 152}},
	} {
		packets := stream(t, protoTCP, 3, 100)
		c.change(&packets[1])
		fix(packets[1])
		if got := lengths(coalesce(packets, true)); !cmp.Equal(c.want, got) {
			t.Errorf("%s: emitted %v, want %v", name, got, c.want)
		}
		compareWithReference(t, name, packets)
	}
}

// What a cut could not make again is not joined with its like either.
func TestWhatACutCannotMakeIsNotJoined(t *testing.T) {
	or := func(at int, bits byte) func([]byte) []byte {
		return func(p []byte) []byte { p[at] |= bits; return p }
	}
	for name, change := range map[string]func([]byte) []byte{
		"IP options":       withIPOptions,
		"reserved IP flag": or(6, 0x80),
		"more fragments":   or(6, 0x20),
		"fragment offset":  or(7, 0x01),
		"reserved TCP bit": or(32, 0x01),
		"FIN":              or(33, tcpFIN),
		"SYN":              or(33, 0x02),
		"RST":              or(33, 0x04),
		"PSH":              or(33, tcpPSH),
		"no ACK":           func(p []byte) []byte { p[33] = 0; return p },
		"URG":              or(33, 0x20),
		"ECE":              or(33, 0x40),
		"CWR":              or(33, tcpCWR),
		"no payload":       func(p []byte) []byte { return p[:52] },
	} {
		packets := stream(t, protoTCP, 3, 100)
		var want []int
		for i, p := range packets {
			packets[i] = change(p)
			fix(packets[i])
			want = append(want, len(packets[i]))
		}
		if got := lengths(coalesce(packets, true)); !cmp.Equal(want, got) {
			t.Errorf("%s: emitted %v, want %v", name, got, want)
		}
		compareWithReference(t, name, packets)
	}
}

// All comparisons of a run rely on it that headers are where they usually are.
func TestPacketWithIPOptionsIsNotJoinable(t *testing.T) {
	for _, p := range [][]byte{tcpPacket(10), udpPacket(10)} {
		if !inspect(p, true).joinable {
			t.Error("without options: not joinable")
		}
		if inspect(withIPOptions(p), true).joinable {
			t.Error("with options: joinable")
		}
	}
}

func TestShorterPacketEndsTheRunThoughTheStreamGoesOn(t *testing.T) {
	for _, protocol := range []uint8{protoTCP, protoUDP} {
		packets := stream(t, protocol, 4, 100)
		short := naiveSplit(packets[1], 50)
		packets = [][]byte{packets[0], short[0], short[1], packets[2], packets[3]}
		for i, p := range packets {
			binary.BigEndian.PutUint16(p[4:], uint16(i))
			fix(p)
		}
		head := len(packets[0]) - 100
		want := []int{head + 150, head + 50, head + 200}
		if got := lengths(coalesce(packets, true)); !cmp.Equal(want, got) {
			t.Errorf("protocol %d: emitted %v, want %v", protocol, got, want)
		}
		compareWithReference(t, "shorter", packets)
	}
}

func compareWithReference(t *testing.T, name string, packets [][]byte) {
	t.Helper()
	for _, udp := range []bool{false, true} {
		if diff := cmp.Diff(naiveCoalesce(packets, udp), coalesce(packets, udp)); diff != "" {
			t.Errorf("%s, UDP %t (-want +got):\n%s", name, udp, diff)
		}
	}
}

func TestWhatIsNotVerifiedIsNotVouchedFor(t *testing.T) {
	valid := Header{Flags: DataValid}
	edit := func(p []byte, at int, v ...byte) []byte { copy(p[at:], v); return p }
	fragment := edit(udpPacket(10), 6, 0x20)
	fix(fragment)
	icmp := edit(udpPacket(10), 9, 1)
	fix(icmp)
	zero := edit(udpPacket(10), 28, 0, 0)
	binary.BigEndian.PutUint16(zero[28:], 0)
	fix(zero)
	copy(zero[28:], zero[26:28]) // now the right checksum is zero
	copy(zero[26:], []byte{0, 0})
	longer := edit(udpPacket(10), 24, 0, 17)
	fixChecksums(longer)
	for name, c := range map[string]struct {
		packet []byte
		want   Header
	}{
		"TCP":                     {tcpPacket(10), valid},
		"TCP without payload":     {tcpPacket(0), valid},
		"TCP with IP options":     {withIPOptions(tcpPacket(10)), valid},
		"UDP":                     {udpPacket(10), valid},
		"TCP, wrong payload":      {edit(tcpPacket(10), 60, 99), Header{}},
		"TCP, wrong checksum":     {edit(tcpPacket(10), 36, 1, 2), Header{}},
		"TCP, wrong IP checksum":  {edit(tcpPacket(10), 10, 1, 2), Header{}},
		"UDP, no checksum":        {edit(udpPacket(10), 26, 0, 0), Header{}},
		"UDP, zero would be it":   {zero, Header{}},
		"UDP, wrong checksum":     {edit(udpPacket(10), 26, 0, 1), Header{}},
		"UDP, longer than packet": {longer, Header{}},
		"fragment":                {fragment, Header{}},
		"ICMP":                    {icmp, Header{}},
	} {
		want := []emitted{{c.want, c.packet}}
		if diff := cmp.Diff(want, coalesce([][]byte{c.packet}, true)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		compareWithReference(t, name, [][]byte{c.packet, c.packet})
	}
}

// Corruption on the way must not be hidden by joining: the receiver's checksum is
// what finds it.
func TestBadChecksumIsNotJoined(t *testing.T) {
	labtest.Native(t)
	for _, protocol := range []uint8{protoTCP, protoUDP} {
		for at := range 128 {
			packets := stream(t, protocol, 3, 100)
			packets[1][at] ^= 0x10
			if p, err := ParseIPv4(packets[1]); err != nil {
				continue
			} else {
				packets[1] = p
			}
			if got := coalesce(packets, true); len(got) != 3 || got[1].Header != (Header{}) {
				t.Errorf("protocol %d, bit flipped at %d: emitted %v, second with %+v", protocol, at, lengths(got), got[1].Header)
			}
			compareWithReference(t, "bit flipped", packets)
		}
	}
}

func TestIDsCountOrStayTheSameWithDF(t *testing.T) {
	for name, c := range map[string]struct {
		df   bool
		ids  []uint16
		want []int
	}{
		"counting":                {false, []uint16{0xffff, 0, 1, 2}, []int{452}},
		"counting with DF":        {true, []uint16{0xffff, 0, 1, 2}, []int{452}},
		"same with DF":            {true, []uint16{7, 7, 7, 7}, []int{452}},
		"same without DF":         {false, []uint16{7, 7, 7, 7}, []int{152, 152, 152, 152}},
		"same, then as counted":   {true, []uint16{7, 7, 9, 10}, []int{252, 252}},
		"same, then counting":     {true, []uint16{7, 7, 8, 9}, []int{252, 252}},
		"counting, then same":     {true, []uint16{7, 8, 8, 8}, []int{252, 252}},
		"counting, then as first": {true, []uint16{7, 8, 7, 8}, []int{252, 252}},
		"down":                    {true, []uint16{7, 6, 5, 4}, []int{152, 152, 152, 152}},
	} {
		packets := stream(t, protoTCP, 4, 100)
		for i, p := range packets {
			p[6] = 0
			if c.df {
				p[6] = 0x40
			}
			binary.BigEndian.PutUint16(p[4:], c.ids[i])
			fix(p)
		}
		if got := lengths(coalesce(packets, false)); !cmp.Equal(c.want, got) {
			t.Errorf("%s: emitted %v, want %v", name, got, c.want)
		}
		compareWithReference(t, name, packets)
	}
}

func TestRunsAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		protocol   uint8
		n, payload int
		want       []int
	}{
		"by 65535 bytes":   {protoTCP, 46, 1448, []int{52 + 45*1448, 52 + 1448}},
		"by 65535 exactly": {protoTCP, 11, 5953, []int{65535}},
		"by one byte more": {protoTCP, 12, 5457, []int{52 + 11*5457, 52 + 5457}},
		"TCP by segments":  {protoTCP, 129, 10, []int{52 + 1280, 52 + 10}},
		"UDP by segments":  {protoUDP, 65, 10, []int{28 + 640, 28 + 10}},
	} {
		var got []int
		coalescer := Coalescer{UDP: true, Emit: func(h Header, pieces [][]byte) {
			got = append(got, len(bytes.Join(pieces, nil)))
		}}
		for i := range c.n {
			p := packetOf(c.protocol, 12, c.payload)
			binary.BigEndian.PutUint16(p[4:], uint16(i))
			if c.protocol == protoTCP {
				binary.BigEndian.PutUint32(p[24:], uint32(i*c.payload))
			}
			fix(p)
			coalescer.Add(p)
		}
		coalescer.Flush()
		if !cmp.Equal(c.want, got) {
			t.Errorf("%s: emitted %v, want %v", name, got, c.want)
		}
	}
}

func TestFlowsThatAlternateKeepTheirOrder(t *testing.T) {
	labtest.Native(t)
	a := stream(t, protoTCP, 6, 100)
	b := stream(t, protoUDP, 6, 100)
	packets := [][]byte{a[0], a[1], b[0], a[2], b[1], b[2], b[3], a[3], a[4], a[5]}
	want := []int{252, 128, 152, 328, 352}
	if got := lengths(coalesce(packets, true)); !cmp.Equal(want, got) {
		t.Errorf("emitted %v, want %v", got, want)
	}
	compareWithReference(t, "alternating", packets)
}

func TestUDPIsJoinedOnlyIfAllowed(t *testing.T) {
	packets := stream(t, protoUDP, 3, 100)
	if got := coalesce(packets, false); len(got) != 3 || got[0].Header != (Header{Flags: DataValid}) {
		t.Errorf("emitted %v, first with %+v", lengths(got), got[0].Header)
	}
}

func TestCoalesceDoesNotAllocate(t *testing.T) {
	packets := stream(t, protoTCP, 40, 1448)
	work := make([]byte, 1500)
	emits := 0
	c := Coalescer{Emit: func(Header, [][]byte) { emits++ }}
	allocs := testing.AllocsPerRun(10, func() {
		first := work[:copy(work, packets[0])]
		c.Add(first)
		for _, p := range packets[1:] {
			c.Add(p)
		}
		c.Add(first[:52]) // a wrong checksum: alone
		c.Flush()
	})
	if allocs != 0 || emits != 2*11 {
		t.Errorf("%v allocations, %d packets emitted", allocs, emits)
	}
}
