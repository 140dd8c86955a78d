package doctor

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"flanneld/cmd/internal/options"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/flagtable"
	"flanneld/pkg/netif"
	"flanneld/subnet"
)

// Every check has its line in the page, and a script in which a host has the fault.
func TestChecksAreDocumentedAndTried(t *testing.T) {
	page, err := os.ReadFile("../../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("../../flanneld/testdata/doctor-*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	var tried strings.Builder
	for _, s := range scripts {
		text, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		tried.Write(text)
	}
	names := make(map[string]bool)
	for i, c := range Checks() {
		if names[c.Name] {
			t.Errorf("two checks have the name %s", c.Name)
		}
		names[c.Name] = true
		if row := fmt.Sprintf("| %d | `%s` | ", i+1, c.Name); !strings.Contains(string(page), row) {
			t.Errorf("docs/doctor.md has no line that begins with %q", row)
		}
		if !strings.Contains(tried.String(), fmt.Sprintf("FAIL +%d  %s ", i+1, c.Name)) && !strings.Contains(tried.String(), fmt.Sprintf("WARN +%d  %s ", i+1, c.Name)) {
			t.Errorf("no script has a host that check %d, %s, finds", i+1, c.Name)
		}
	}
	if lines := strings.Count(string(page), "\n| ") - strings.Count(string(page), "\n| `"); len(Checks()) == 0 || lines < len(Checks()) {
		t.Errorf("%d lines for %d checks", lines, len(Checks()))
	}
}

func TestDottedNamesAreThoseOfSysctl(t *testing.T) {
	for file, want := range map[string]string{
		"net/ipv4/ip_forward":               "net.ipv4.ip_forward",
		"net/ipv4/conf/flannel.1/rp_filter": "net.ipv4.conf.flannel/1.rp_filter",
		"net/ipv4/neigh/default/gc_thresh3": "net.ipv4.neigh.default.gc_thresh3",
		"net/ipv6/conf/all/forwarding":      "net.ipv6.conf.all.forwarding",
	} {
		if got := dotted(file); got != want {
			t.Errorf("dotted(%s) = %s, want %s", file, got, want)
		}
	}
}

func TestValuesOfAProcess(t *testing.T) {
	p := process{1, []string{"--bip=10.1.1.1/24", "--mtu", "1450", "-H", "fd://", "--bip", "10.2.2.1/24", "bip", "--mtu"}}
	for flag, want := range map[string]string{"bip": "10.1.1.1/24 10.2.2.1/24", "mtu": "1450", "ip-masq": ""} {
		if got := strings.Join(p.values(flag), " "); got != want {
			t.Errorf("values(%s) = %q, want %q", flag, got, want)
		}
	}
}

// A daemon in another PID namespace, such as a container's, calls itself 1. The 1 of this one is
// another program.
func TestADaemonIsKnownByTheProcessBehindItsSocket(t *testing.T) {
	args, environ, hidden := StartedWith(status.Status{PID: 1}, flagtable.Env{"FLANNELD_V": "1"})
	if args != nil || environ != nil || !strings.Contains(hidden, "PID namespace") {
		t.Errorf("%q, %q, %q", args, environ, hidden)
	}
	h := &Host{Status: status.Status{PID: 1}, Hidden: hidden}
	if why := h.lacks(t.Context(), Flags); why != hidden {
		t.Errorf("%q", why)
	}
	args, environ, hidden = StartedWith(status.Status{PID: 1, Process: os.Getpid()}, nil)
	if !slices.Equal(args, os.Args[1:]) || len(environ) == 0 || hidden != "" {
		t.Errorf("%q, %q, %q", args, environ, hidden)
	}
	if _, environ, hidden = StartedWith(status.Status{}, flagtable.Env{"FLANNELD_V": "1"}); !slices.Contains(environ, "FLANNELD_V=1") || hidden != "" {
		t.Errorf("without a daemon %q, %q", environ, hidden)
	}
}

func TestLimitsOfTheARPTableAreOnlyRaised(t *testing.T) {
	for _, tt := range []struct {
		name string
		near int
		has  netif.NeighbourTable
		want State
		mend string
	}{
		{"room", 500, netif.NeighbourTable{Soft: 512, Hard: 1024}, Pass, ""},
		{"entries that were refused before somebody raised the limits", 500, netif.NeighbourTable{Soft: 2048, Hard: 4096, Fulls: 7}, Pass, ""},
		{"nearly full", 600, netif.NeighbourTable{Soft: 512, Hard: 1024}, Warn, "gc_thresh3=4096 gc_thresh2=2048"},
		{"full", 1100, netif.NeighbourTable{Soft: 512, Hard: 1024}, Fail, "gc_thresh3=4400 gc_thresh2=2200"},
		{"a high hard limit", 600, netif.NeighbourTable{Soft: 512, Hard: 65536}, Warn, "gc_thresh2=2048"},
		{"a high soft limit", 3000, netif.NeighbourTable{Soft: 8192, Hard: 2048}, Fail, "gc_thresh3=12000"},
	} {
		r := roomFor("eth0", tt.near, tt.has)
		mend := strings.ReplaceAll(strings.Join(r.Remedy, " "), "sysctl -w net.ipv4.neigh.default.", "")
		if r.State != tt.want || mend != tt.mend || (r.Fix == nil) != (mend == "") {
			t.Errorf("%s: %s, %q", tt.name, r.State, mend)
		}
		if said := strings.Contains(r.Saw, "refused"); said != (tt.has.Fulls > 0) {
			t.Errorf("%s: %s", tt.name, r.Saw)
		}
	}
}

func TestTwoLeasesWithOnePublicIPAreNamedInTheRemedy(t *testing.T) {
	lease := func(s, ip string) subnet.Lease {
		return subnet.Lease{V4: subnet.Claim{Subnet: netip.MustParsePrefix(s), PublicIP: netip.MustParseAddr(ip)}}
	}
	h := &Host{Options: options.Daemon{Etcd: options.Etcd{Endpoints: []string{"http://192.0.2.9:2379"}, Prefix: "/red"}}}
	h.Status.Lease.Subnet, h.Status.Etcd.API = netip.MustParsePrefix("10.5.1.0/24"), "v3"
	h.once.Do(func() {})
	h.known = knowledge{leases: []subnet.Lease{lease("10.5.1.0/24", "192.0.2.1"), lease("10.5.2.0/24", "192.0.2.1"), lease("10.5.3.0/24", "192.0.2.3")}}
	r := lookPublicIP(t.Context(), h)
	const want = "flannelctl lease release 10.5.2.0/24 --etcd-endpoints=http://192.0.2.9:2379 --etcd-api=v3 --etcd-prefix=/red "
	if len(r.Remedy) != 2 || !strings.HasPrefix(r.Remedy[1], want) || r.State != Fail {
		t.Errorf("%s, %q, want %q", r.State, r.Remedy, want)
	}
}

func TestWithinTheOwnSubnet(t *testing.T) {
	own := subnet.Key{V4: netip.MustParsePrefix("10.5.1.0/24"), V6: netip.MustParsePrefix("fd00:1::/64")}
	for p, want := range map[string]bool{"10.5.1.0/24": true, "10.5.1.8/32": true, "10.5.0.0/16": false, "10.5.2.0/24": false,
		"fd00:1::/64": true, "fd00:1::1/128": true, "fd00:1::/48": false, "fd00:2::/64": false} {
		if got := within(own, netip.MustParsePrefix(p)); got != want {
			t.Errorf("%s: %t", p, got)
		}
	}
	if within(subnet.Key{V4: own.V4}, netip.MustParsePrefix("fd00:1::/64")) {
		t.Error("a host without IPv6 has a subnet of it")
	}
}

func TestReadingDockersFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "daemon.json")
	if err := unreadable(file); err != nil {
		t.Errorf("no file: %v", err)
	}
	for text, ok := range map[string]bool{"": true, "  \n": true, `{"mtu": 1450}`: true, "{": false, "[]": false, `{"a": 1,}`: false} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unreadable(file); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestVNIOfALease(t *testing.T) {
	for data, want := range map[string]string{"": "", `{"VNI":1,"VtepMAC":"x"}`: "1", `{"VtepMAC":"x"}`: "", `[]`: "", `{"VNI":"x"}`: "", `{"Direct":2}`: ""} {
		if got := vni(data); got != want {
			t.Errorf("vni(%s) = %q, want %q", data, got, want)
		}
	}
}

// What the page for those in trouble says of checks is there.
func TestTroubleshootingNamesChecksThatThereAre(t *testing.T) {
	page, err := os.ReadFile("../../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), fmt.Sprintf("makes %d checks", len(Checks()))) {
		t.Errorf("docs/troubleshooting.md does not say that there are %d checks", len(Checks()))
	}
	if n := len(strings.Fields(string(page))); n > 1200 {
		t.Errorf("it has %d words", n)
	}
	_, table, _ := strings.Cut(string(page), "| What is seen |")
	table, _, _ = strings.Cut(table, "\n\n")
	named := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimRight(line, " |\n"), "|")
		for _, name := range strings.Fields(strings.ReplaceAll(cells[len(cells)-1], "`", "")) {
			if strings.HasPrefix(name, "-") || name == "Check" {
				continue
			}
			if named++; !slices.ContainsFunc(Checks(), func(c Check) bool { return c.Name == name }) {
				t.Errorf("docs/troubleshooting.md names a check %q", name)
			}
		}
	}
	if named < 15 {
		t.Errorf("only %d names", named)
	}
}
