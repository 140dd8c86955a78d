package nft

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"

	"flanneld/pkg/firewall"
	"flanneld/pkg/netlab/labtest"
)

var labTable = Table{
	ID: ID{Inet, "lab"},
	Chains: []Chain{
		{Name: "aside", Called: true, Rules: []Rule{{Count: "refused", Rule: firewall.Rule{Target: firewall.Drop}}}},
		{Name: "in", Hook: Input, Priority: Raw, Rules: []Rule{
			{Port: 8472, VXLAN: true, VNI: 1, SrcIn: "hosts4", Rule: firewall.Rule{Target: firewall.Return}},
			{V6: true, Port: 8472, VXLAN: true, VNI: 1, SrcIn: "hosts6", Rule: firewall.Rule{Target: firewall.Return}},
			{V6: true, Port: 8472, Split: true, SrcIn: "hosts6", Count: "refused", Rule: firewall.Rule{Target: firewall.Drop}},
			{Port: 8472, VXLAN: true, VNI: 1, Remember: "seen4", Rule: firewall.Rule{Src: firewall.In(netip.MustParsePrefix("192.0.2.0/24"))}},
			{Port: 8472, VXLAN: true, VNI: 1, Count: "refused", Rule: firewall.Rule{Target: firewall.Drop, Comment: "not one of us"}},
		}},
		{Name: "pre", Hook: Prerouting, Priority: Raw - 10, Rules: []Rule{
			{SetMark: firewall.Mark{Value: 0x1000000, Mask: 0x1000000}, Rule: firewall.Rule{
				In: firewall.Iface{Name: "tun0"}, Dst: firewall.In(netip.MustParsePrefix("10.5.1.0/24")),
			}},
			{SrcIn: "nets", DstIn: "nets"},
			{Port: 8472, DstIn: "hosts4", Rule: firewall.Rule{Target: "aside"}},
			{Invalid: true, Rule: firewall.Rule{Target: firewall.Drop}},
			{V6: true, SrcIn: "hosts6", Leads: true, Rule: firewall.Rule{Target: firewall.Return}},
			{SrcIn: "nets", Count: "spoofed", Rule: firewall.Rule{In: firewall.Iface{Name: "eth0"}, Src: firewall.In(netip.MustParsePrefix("10.5.0.0/16")), Target: firewall.Drop}},
		}},
	},
	Sets: []Set{
		{Name: "hosts4", Elements: prefixes("192.0.2.1/32", "192.0.2.9/32")},
		{Name: "hosts6", V6: true, Elements: prefixes("2001:db8::1/128")},
		{Name: "nets", Ranges: true, Elements: prefixes("10.5.3.0/24", "10.5.4.0/24", "10.5.9.0/24")},
		{Name: "seen4", Remembers: 64, Seconds: 60},
	},
	Counters: []string{"refused", "spoofed"},
}

func prefixes(all ...string) (out []netip.Prefix) {
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// lab returns the nftables of a new namespace, and what runs nft(8) there.
func lab(t testing.TB) (*Kernel, func(arg ...string) string) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed (Debian: nftables)")
	}
	l := labtest.New(t)
	ns, err := netns.GetFromName(l.Switch().Namespace.Namespace())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return &Kernel{NetNS: int(ns)}, func(arg ...string) string {
		t.Helper()
		out, err := l.Switch().Output("nft", arg...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func apply(t testing.TB, k *Kernel, table Table) []string {
	t.Helper()
	changes, err := k.Apply(table)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// Two daemons find no table, or one does whose look was disturbed.
func TestATableThatIsMadeTwiceHasEachRuleOnce(t *testing.T) {
	labtest.Native(t)
	k, _ := lab(t)
	for range 2 {
		c := k.conn()
		change(c, labTable, labTable.parts(), nil)
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if changes := apply(t, k, labTable); len(changes) > 0 {
		t.Errorf("the table was not as wanted: %v", changes)
	}
}

// forget makes the kernel be read again.
func (k *Kernel) forget() { k.same = nil }

// TestApply with what nft(8) says of it.
func TestApply(t *testing.T) {
	labtest.Native(t)
	k, nft := lab(t)
	if changes := apply(t, k, labTable); len(changes) == 0 {
		t.Error("nothing was changed")
	}
	for range 2 { // read, then known
		if changes := apply(t, k, labTable); len(changes) > 0 {
			t.Fatalf("the second time there was to change %q:\n%s", changes, nft("list", "ruleset"))
		}
	}
	out := nft("list", "table", "inet", "lab")
	for _, want := range []string{
		"type filter hook input priority raw; policy accept;",
		"type filter hook prerouting priority raw - 10; policy accept;",
		"udp dport 8472 @th,96,24 0x1 ip saddr @hosts4 return",
		"udp dport 8472 @th,96,24 0x1 ip6 saddr @hosts6 return",
		"exthdr frag exists",
		`udp dport 8472 @th,96,24 0x1 counter name "refused" drop comment "not one of us"`,
		"ip saddr 192.0.2.0/24 update @seen4 { ip saddr }",
		`iifname "tun0" ip daddr 10.5.1.0/24 meta mark set meta mark | 0x01000000`,
		`iifname "eth0" ip saddr 10.5.0.0/16 ip saddr @nets counter name "spoofed" drop`,
		"elements = { 10.5.3.0-10.5.4.255, 10.5.9.0/24 }",
		"ip saddr @nets ip daddr @nets",
		"ct state invalid drop",
		"udp dport 8472 ip daddr @hosts4 jump aside",
		"ip6 saddr @hosts6 fib saddr . iif oif != 0 return",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
}

func TestApplyRepairs(t *testing.T) {
	labtest.Native(t)
	k, nft := lab(t)
	nft("add", "table", "inet", "other")
	nft("add", "set", "inet", "other", "s", "{ type ipv4_addr; elements = { 192.0.2.77 }; }")
	apply(t, k, labTable)
	settled := nft("list", "ruleset")
	for name, command := range map[string][]string{
		"a chain is flushed":  {"flush", "chain", "inet", "lab", "in"},
		"a rule is added":     {"insert", "rule", "inet", "lab", "in", "accept"},
		"an element is gone":  {"delete", "element", "inet", "lab", "hosts4", "{ 192.0.2.1 }"},
		"an element is added": {"add", "element", "inet", "lab", "hosts4", "{ 192.0.2.66 }"},
		"a range is gone":     {"flush", "set", "inet", "lab", "nets"},
		"the table is gone":   {"delete", "table", "inet", "lab"},
		"a chain is added":    {"add", "chain", "inet", "lab", "more"},
		"another IPv6 host":   {"add", "element", "inet", "lab", "hosts6", "{ 2001:db8::66 }"},
		"a counter is added":  {"add", "counter", "inet", "lab", "more"},
	} {
		nft(command...)
		if changes := apply(t, k, labTable); len(changes) == 0 {
			t.Errorf("%s: nothing was changed", name)
		}
		if d := cmp.Diff(lines(settled), lines(nft("list", "ruleset"))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		k.forget()
		if changes := apply(t, k, labTable); len(changes) > 0 {
			t.Errorf("%s: then there was to change %q", name, changes)
		}
	}
	for id, want := range map[ID]int{labTable.ID: 1, {IPv4, "absent"}: 0} {
		if changes := apply(t, k, Table{ID: id}); len(changes) != want {
			t.Errorf("without %s: changes are %q, want %d", id, changes, want)
		}
	}
	if out := nft("list", "tables"); strings.TrimSpace(out) != "table inet other" {
		t.Errorf("tables left: %s", out)
	}
}

// lines sorts what may come in any order: tables that were made anew.
func lines(s string) []string {
	all := strings.Split(s, "\n")
	slices.Sort(all)
	return all
}

func TestSetsFollow(t *testing.T) {
	labtest.Native(t)
	k, nft := lab(t)
	table := Table{ID: ID{IPv6, "lab6"}, Sets: []Set{{Name: "s", V6: true}}}
	v4 := Table{ID: ID{IPv4, "lab4"}, Sets: []Set{{Name: "r", Ranges: true}}}
	for n := range 30 {
		table.Sets[0].Elements, v4.Sets[0].Elements = nil, nil
		for i := range 40 * (n % 5) * n {
			table.Sets[0].Elements = append(table.Sets[0].Elements, netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 14: byte(i >> 8), 15: byte(i)}), 128))
			v4.Sets[0].Elements = append(v4.Sets[0].Elements, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i * 2)}), 24-i%3))
		}
		apply(t, k, table)
		apply(t, k, v4)
		for _, table := range []Table{table, v4} {
			k.forget()
			if changes := apply(t, k, table); len(changes) > 0 {
				t.Fatalf("round %d: there was to change %q", n, changes)
			}
		}
		if got, want := strings.Count(nft("list", "set", "ip6", "lab6", "s"), "2001:"), len(table.Sets[0].Elements); got != want {
			t.Fatalf("round %d: nft sees %d elements, want %d", n, got, want)
		}
	}
}

// A set that keeps what is there has both, until it keeps nothing.
func TestASetKeepsWhatIsThere(t *testing.T) {
	labtest.Native(t)
	k, nft := lab(t)
	apply(t, k, labTable)
	next := labTable
	next.Sets = slices.Clone(labTable.Sets)
	next.Sets[0].Keeps, next.Sets[0].Elements = true, prefixes("192.0.2.7/32", "192.0.2.9/32")
	next.Sets[2].Keeps, next.Sets[2].Elements = true, prefixes("10.5.4.0/23", "10.5.12.0/24")
	for range 2 {
		apply(t, k, next)
		out := strings.Join(strings.Fields(nft("list", "table", "inet", "lab")), " ")
		for _, want := range []string{"{ 192.0.2.1, 192.0.2.7, 192.0.2.9 }", "{ 10.5.3.0-10.5.5.255, 10.5.9.0/24,"} {
			if !strings.Contains(out, want) {
				t.Errorf("the table lacks %q:\n%s", want, out)
			}
		}
	}
	if changes := apply(t, k, next); len(changes) > 0 {
		t.Errorf("the third time there was to change %q", changes)
	}
	next.Sets[0].Keeps, next.Sets[2].Keeps = false, false
	apply(t, k, next)
	if out := nft("list", "table", "inet", "lab"); !strings.Contains(out, "{ 192.0.2.7, 192.0.2.9 }") || strings.Contains(out, "10.5.9.0") {
		t.Errorf("the table keeps more:\n%s", out)
	}
}

func TestOverlayInNftables(t *testing.T) {
	labtest.Native(t)
	k, nft := lab(t)
	network, own := netip.MustParsePrefix("10.5.0.0/16"), netip.MustParsePrefix("10.5.1.0/24")
	table := Table{ID: ID{IPv4, "lab-ipv4"}, Chains: []Chain{
		{Name: "postrtg", NAT: true, Hook: Postrouting, Priority: SrcNAT, Rules: Rules(firewall.Commented("lab", firewall.Postrouting(network, own, firewall.RandomFully)))},
		{Name: "forward", Hook: Forward, Priority: Filter, Rules: Rules(firewall.Commented("lab", firewall.Forward(network)))},
	}}
	apply(t, k, table)
	k.forget()
	if changes := apply(t, k, table); len(changes) > 0 {
		t.Errorf("there was to change %q", changes)
	}
	want := `table ip lab-ipv4 {
	chain postrtg {
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00004000 == 0x00004000 return comment "lab"
		ip saddr 10.5.1.0/24 ip daddr 10.5.0.0/16 return comment "lab"
		ip saddr 10.5.0.0/16 ip daddr 10.5.1.0/24 return comment "lab"
		ip saddr != 10.5.0.0/16 ip daddr 10.5.1.0/24 return comment "lab"
		ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random comment "lab"
		ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade fully-random comment "lab"
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		ip saddr 10.5.0.0/16 accept comment "lab"
		ip daddr 10.5.0.0/16 accept comment "lab"
	}
}
`
	if d := cmp.Diff(want, nft("list", "ruleset")); d != "" {
		t.Errorf("rules (-want +got):\n%s", d)
	}
}

// TestElements compares ranges with a model: every address by itself.
func TestElements(t *testing.T) {
	for _, row := range []struct {
		in   []string
		want string
	}{
		{nil, ""},
		{[]string{"10.0.1.0/24", "10.0.0.0/24"}, "10.0.0.0-10.0.2.0"},
		{[]string{"10.0.0.0/8", "10.1.0.0/16", "10.255.0.0/16", "11.0.1.0/24"}, "10.0.0.0-11.0.0.0 11.0.1.0-11.0.2.0"},
		{[]string{"255.255.255.0/24", "255.0.0.0/8"}, "255.0.0.0-"},
		{[]string{"0.0.0.0/0", "10.0.0.0/8"}, "0.0.0.0-"},
		{[]string{"192.0.2.7/32"}, "192.0.2.7-192.0.2.8"},
	} {
		var got strings.Builder
		for _, e := range (Set{Ranges: true, Elements: prefixes(row.in...)}).elements() {
			key, end := parseElement(e)
			a, _ := netip.AddrFromSlice(key)
			switch {
			case end:
				fmt.Fprint(&got, a)
			default:
				if got.Len() > 0 {
					got.WriteByte(' ')
				}
				fmt.Fprint(&got, a, "-")
			}
		}
		if got.String() != row.want {
			t.Errorf("%q: ranges are %s, want %s", row.in, &got, row.want)
		}
	}
}

func TestWatchTellsOfChanges(t *testing.T) {
	labtest.Native(t)
	k, nft := lab(t)
	ctx, cancel := context.WithCancel(t.Context())
	changed, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() { ended <- k.Watch(ctx, changed) }()
	// The watch has begun when it first tells of a change.
	for begun := false; !begun; {
		nft("add", "table", "inet", "other")
		nft("delete", "table", "inet", "other")
		select {
		case <-changed:
			begun = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Watch has not ended with its context")
	}
}

func BenchmarkApply(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		k, _ := lab(b)
		table := labTable
		table.Sets = slices.Clone(table.Sets)
		table.Sets[0].Elements = nil
		for i := range n {
			table.Sets[0].Elements = append(table.Sets[0].Elements, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32))
		}
		apply(b, k, table)
		for name, forget := range map[string]bool{"unchanged": false, "others-changed": true} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					if forget {
						k.forget()
					}
					apply(b, k, table)
				}
			})
		}
	}
}
