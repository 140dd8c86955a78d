package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"flanneld/cmd/internal/doctor"
	"flanneld/cmd/internal/probe"
	"flanneld/cmd/internal/status"
)

// peersOf are peers in place, of the backend vxlan.
func peersOf(s *status.Status, subnets ...string) {
	s.Peers = status.Peers{Wanted: len(subnets), Programmed: len(subnets)}
	for i, subnet := range subnets {
		s.Peers.List = append(s.Peers.List, status.Peer{Subnet: netip.MustParsePrefix(subnet), PublicIP: netip.AddrFrom4([4]byte{192, 0, 2, byte(2 + i)}),
			Backend: "vxlan", Path: "kernel", State: status.PeerProgrammed, Since: s.Started})
	}
}

func TestProbeTable(t *testing.T) {
	const table = `SUBNET       PUBLIC IP  STATE       RTT      LOSS  MTU   REASON
10.5.4.0/24  192.0.2.4  programmed  -        100%  -     no answer from 10.5.4.0
10.5.3.0/24  192.0.2.3  programmed  0.52 ms  0%    1350  black hole: packets of 1351 to 1450 bytes are lost silently
10.5.5.0/24  192.0.2.5  programmed  0.52 ms  20%   1450  -
10.5.2.0/24  192.0.2.2  programmed  0.52 ms  0%    1450  -
4 of 4 peers in place, 1 without an answer, 1 black hole
`
	s := aStatus()
	peersOf(&s, "10.5.2.0/24", "10.5.3.0/24", "10.5.4.0/24", "10.5.5.0/24")
	all := probedPeers{Peers: s.Peers}
	for i, r := range []probe.Result{
		{Sent: 5, Received: 5, Mean: 520 * time.Microsecond, MTU: 1450},
		{Sent: 5, Received: 5, Mean: 520 * time.Microsecond, MTU: 1350, BlackHole: true},
		{Sent: 3},
		{Sent: 5, Received: 4, Mean: 520 * time.Microsecond, MTU: 1450},
	} {
		r.Address = s.Peers.List[i].Subnet.Addr()
		all.List = append(all.List, probedPeer{s.Peers.List[i], asProbed(r)})
	}
	slices.SortStableFunc(all.List, probedPeer.compare)
	if diff := cmp.Diff(table, string(probeTable(all, s))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if doc, err := os.ReadFile("../../docs/flannelctl.md"); err != nil || !strings.Contains(string(doc), table) {
		t.Errorf("docs/flannelctl.md has not this table, %v:\n%s", err, table)
	}
}

// TestPeersAreProbed has peers that this host answers for.
func TestPeersAreProbed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for raw sockets")
	}
	s := aStatus()
	peersOf(&s, "127.0.5.0/24", "127.0.6.0/24", "127.0.7.0/24")
	s.Peers.Programmed, s.Peers.Failed = 2, 1
	s.Peers.List[2].State, s.Peers.List[2].Reason = status.PeerFailed, "add route: file exists"
	out, errs, got := run(t, append([]string{"peers", "--probe"}, answering(t, s)...)...)
	if got != exitFailed || errs != "" || strings.Count(out, " ms  0%    1450  -\n") != 2 ||
		!strings.Contains(out, "\n127.0.7.0/24  192.0.2.4  failed      -        -     -     add route: file exists\n127.0.5.0/24") {
		t.Errorf("status %d, %q\n%s", got, errs, out)
	}
	s.Peers.List, s.Peers.Wanted, s.Peers.Failed = s.Peers.List[:2], 2, 0
	out, _, got = run(t, append([]string{"peers", "--probe", "-o", "json"}, answering(t, s)...)...)
	var back probedPeers
	if err := json.Unmarshal([]byte(out), &back); err != nil || got != exitDone || back.Wanted != 2 || len(back.List) != 2 {
		t.Fatalf("status %d, %v\n%s", got, err, out)
	}
	if p := back.List[1]; p.Subnet != s.Peers.List[1].Subnet || p.Probe.Received != 5 || p.Probe.MTU != 1450 || p.Probe.MeanRTT <= 0 {
		t.Errorf("%+v", p.Probe)
	}
}

func TestProgressIsForATerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if isTerminal(w) || isTerminal(new(strings.Builder)) {
		t.Error("a pipe or a buffer is taken for a terminal")
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no pseudo-terminals: ", err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("this mount namespace has not the terminal: ", err)
	}
	defer terminal.Close()
	progress, end := showProgress(terminal, 2)
	progress(1) // too soon after the first
	end()
	shows := func(want string) { // a read may bring less than what was written
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(master, got); err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	shows("\r\x1b[K0 of 2 peers probed\r\x1b[K")
	// Doctor says which check goes on.
	d := &doctoring{asking: &asking{call: &call{stderr: terminal}}}
	if _, err := d.checks(t.Context(), new(doctor.Host), []string{"forwarding"}); err != nil {
		t.Error(err)
	}
	shows(fmt.Sprintf("\r\x1b[Kcheck 6 of %d: forwarding\r\x1b[K", len(doctor.Checks())))
}
