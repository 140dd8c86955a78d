package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"flanneld/cmd/internal/status"
)

func TestPeers(t *testing.T) {
	const table = `SUBNET       PUBLIC IP  BACKEND  PATH    STATE       SINCE  REASON
10.5.3.0/24  192.0.2.3  vxlan    kernel  failed      40s    add route 10.5.3.0/24: no buffer space available
10.5.4.0/24  -          -        -       ignored     3h     the lease has no usable PublicIP
10.5.2.0/24  192.0.2.2  vxlan    kernel  programmed  2d     -
1 of 2 peers in place, 1 failed, 1 lease ignored
`
	s := aStatus()
	peer := func(subnet, public string, state status.PeerState, ago time.Duration, reason string) status.Peer {
		p := status.Peer{Subnet: netip.MustParsePrefix(subnet), State: state, Since: s.Time.Add(-ago), Reason: reason}
		if public != "" {
			p.PublicIP, p.Backend, p.Path = netip.MustParseAddr(public), "vxlan", "kernel"
		}
		return p
	}
	s.Peers = status.Peers{Wanted: 2, Programmed: 1, Failed: 1, Ignored: 1, List: []status.Peer{
		peer("10.5.3.0/24", "192.0.2.3", status.PeerFailed, 40*time.Second, "add route 10.5.3.0/24: no buffer space available"),
		peer("10.5.4.0/24", "", status.PeerIgnored, 3*time.Hour, "the lease has no usable PublicIP"),
		peer("10.5.2.0/24", "192.0.2.2", status.PeerProgrammed, 60*time.Hour, ""),
	}}
	out, errs, got := run(t, append([]string{"peers"}, answering(t, s)...)...)
	if diff := cmp.Diff(table, out); diff != "" || got != exitFailed || errs != "" {
		t.Errorf("status %d, %q, it prints (-want +got)\n%s", got, errs, diff)
	}
	if doc, err := os.ReadFile("../../docs/flannelctl.md"); err != nil || !strings.Contains(string(doc), table) {
		t.Errorf("docs/flannelctl.md has not this table, %v:\n%s", err, table)
	}
	out, _, got = run(t, append([]string{"peers", "-o", "json"}, answering(t, s)...)...)
	var back status.Peers
	if err := json.Unmarshal([]byte(out), &back); err != nil || got != exitFailed || len(back.List) != 3 || back.Failed != 1 {
		t.Errorf("status %d, %v\n%s", got, err, out)
	}
	s.Peers = status.Peers{}
	if out, errs, got = run(t, append([]string{"peers"}, answering(t, s)...)...); got != exitDone || out != "0 of 0 peers in place\n" {
		t.Errorf("none: status %d, %q, %q", got, errs, out)
	}
	if out, errs, got = run(t, "peers", "--status-socket="+t.TempDir()+"/killed.sock"); got != exitUsage || out != "" || !strings.Contains(errs, "\nhint: ") {
		t.Errorf("no daemon: status %d, %q, %q", got, errs, out)
	}
}

// What a person waits for, with as many hosts as a network may have.
func BenchmarkFiveThousandPeers(b *testing.B) {
	s := aStatus()
	s.Peers = status.Peers{Wanted: 5000, Programmed: 5000}
	for i := range 5000 {
		s.Peers.List = append(s.Peers.List, status.Peer{Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24),
			PublicIP: netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)}), Backend: "vxlan", Path: "kernel", State: status.PeerProgrammed, Since: s.Started})
	}
	flags := answering(b, s)
	for _, command := range []string{"peers", "status"} {
		for _, format := range []string{"text", "json"} {
			b.Run(command+" "+format, func(b *testing.B) {
				for b.Loop() {
					if out, errs, got := run(b, append([]string{command, "-o", format}, flags...)...); got != exitDone || out == "" {
						b.Fatalf("status %d, %q", got, errs)
					}
				}
			})
		}
	}
}

func TestVersions(t *testing.T) {
	s := aStatus()
	flags := answering(t, s)
	out, errs, got := run(t, append([]string{"version"}, flags...)...)
	if got != exitDone || errs != "" || !strings.HasPrefix(out, "flannelctl dev (commit unknown, go") || !strings.Contains(out, ")\nflanneld   v1.0.0\nhint: systemctl restart flanneld") {
		t.Errorf("status %d, %q, %q", got, errs, out)
	}
	if out, _, got = run(t, append([]string{"version", "-o", "json"}, flags...)...); got != exitDone || !strings.Contains(out, `"flanneld": "v1.0.0",`+"\n"+`  "commit": "unknown"`) {
		t.Errorf("status %d, %q", got, out)
	}
	if out, _, got = run(t, "version", "--status-socket="+t.TempDir()+"/none.sock"); got != exitDone || !strings.Contains(out, "flanneld   not known: ") {
		t.Errorf("without a daemon: status %d, %q", got, out)
	}
}
