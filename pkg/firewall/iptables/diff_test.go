package iptables

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/firewall"
	"flanneld/pkg/netlab/labtest"
)

var (
	network = netip.MustParsePrefix("10.5.0.0/16")
	own     = netip.MustParsePrefix("10.5.1.0/24")
	owner   = Owner{
		Chain:   func(name string) bool { return name == "LAB-POST" || name == "LAB-FWD" },
		Comment: func(c string) bool { return c == "lab direct" },
		Former:  []string{"OLD"}, Shared: []string{"lab"},
		Networks: []netip.Prefix{network},
		Groups: []Chain{{"nat", "POSTROUTING", []firewall.Rule{
			{Src: firewall.In(network), Dst: firewall.In(network), Target: "RETURN"},
			{Src: firewall.Outside(network), Dst: firewall.In(network), Target: "MASQUERADE"},
		}}},
	}
)

func jump(chain string) firewall.Rule { return firewall.Rule{Comment: "lab", Target: chain} }

func wanted() Want {
	direct := firewall.Commented("lab direct", firewall.Inbound(own, []firewall.Rule{{In: firewall.Iface{Name: "tun0"}}}))[0]
	return Want{
		Chains: []Chain{
			{"nat", "LAB-POST", firewall.Commented("lab", firewall.Postrouting(network, own, ""))},
			{"filter", "LAB-FWD", firewall.Commented("lab", firewall.Forward(network))},
		},
		Inserts: []Insert{
			{"nat", "POSTROUTING", jump("LAB-POST"), false, ""},
			{"filter", "FORWARD", jump("LAB-FWD"), false, ""},
			{"raw", "PREROUTING", direct, true, ""},
			{"filter", "DOCKER-USER", direct, false, ""},
		},
	}
}

// inPlace is what iptables-save prints when all is as wanted.
const inPlace = `*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 10.5.1.0/24 -i tun0 -m comment --comment "lab direct" -j ACCEPT
COMMIT
*filter
:FORWARD DROP [7:420]
:LAB-FWD - [0:0]
-A FORWARD -m comment --comment lab -j LAB-FWD
-A LAB-FWD -s 10.5.0.0/16 -m comment --comment lab -j ACCEPT
-A LAB-FWD -d 10.5.0.0/16 -m comment --comment lab -j ACCEPT
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
:LAB-POST - [0:0]
-A POSTROUTING -m comment --comment lab -j LAB-POST
-A LAB-POST -m mark --mark 0x4000/0x4000 -m comment --comment lab -j RETURN
-A LAB-POST -s 10.5.1.0/24 -d 10.5.0.0/16 -m comment --comment lab -j RETURN
-A LAB-POST -s 10.5.0.0/16 -d 10.5.1.0/24 -m comment --comment lab -j RETURN
-A LAB-POST ! -s 10.5.0.0/16 -d 10.5.1.0/24 -m comment --comment lab -j RETURN
-A LAB-POST -s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment lab -j MASQUERADE
-A LAB-POST ! -s 10.5.0.0/16 -d 10.5.0.0/16 -m comment --comment lab -j MASQUERADE
COMMIT
`

func TestDiff(t *testing.T) {
	for _, row := range []struct {
		name, have string
		none       bool // nothing is wanted
		edits      string
	}{
		{name: "nothing differs", have: inPlace},
		{name: "another quoting, and counters", have: strings.NewReplacer("--comment lab", `--comment "lab"`, "[0:0]", "[5:99]").Replace(inPlace)},
		{name: "a rule of the own chain is gone", have: strings.Replace(inPlace, "-A LAB-FWD -s 10.5.0.0/16 -m comment --comment lab -j ACCEPT\n", "", 1),
			edits: `-t filter :LAB-FWD - [0:0]
-t filter -A LAB-FWD -s 10.5.0.0/16 -m comment --comment lab -j ACCEPT
-t filter -A LAB-FWD -d 10.5.0.0/16 -m comment --comment lab -j ACCEPT
`},
		{name: "behind a rule that rejects all", have: strings.Replace(inPlace, "-A FORWARD", `-A FORWARD -s 10.9.0.0/16 -j DROP
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
-A FORWARD`, 1),
			edits: `-t filter -D FORWARD -m comment --comment lab -j LAB-FWD
-t filter -I FORWARD 2 -m comment --comment lab -j LAB-FWD
`},
		{name: "behind a jump that nothing comes back from", have: strings.Replace(inPlace, "-A FORWARD", `:GATE - [0:0]
-A GATE -p tcp -j ACCEPT
-A GATE -j DROP
-A FORWARD -j GATE
-A FORWARD`, 1),
			edits: `-t filter -D FORWARD -m comment --comment lab -j LAB-FWD
-t filter -I FORWARD 1 -m comment --comment lab -j LAB-FWD
`},
		{name: "behind a jump that something comes back from", have: strings.Replace(inPlace, "-A FORWARD", `:GATE - [0:0]
-A GATE -p tcp -j ACCEPT
-A GATE -j RETURN
-A GATE -j DROP
-A FORWARD -j GATE
-A FORWARD`, 1)},
		{name: "behind Docker's drops", have: strings.Replace(inPlace, "-A PREROUTING", `-A PREROUTING -d 10.9.1.1/32 ! -i docker0 -j DROP
-A PREROUTING -d 10.5.1.2/32 -j DROP
-A PREROUTING -d 10.5.1.2/32 ! -i docker0 -p tcp -m tcp --dport 80 -j DROP
-A PREROUTING`, 1),
			edits: `-t raw -D PREROUTING -d 10.5.1.0/24 -i tun0 -m comment --comment "lab direct" -j ACCEPT
-t raw -I PREROUTING 3 -d 10.5.1.0/24 -i tun0 -m comment --comment "lab direct" -j ACCEPT
`},
		{name: "Docker has made its chain", have: strings.Replace(inPlace, "-A FORWARD", `:DOCKER-USER - [0:0]
-A DOCKER-USER -s 10.9.0.0/16 -j DROP
-A DOCKER-USER -j RETURN
-A FORWARD`, 1),
			edits: `-t filter -I DOCKER-USER 2 -d 10.5.1.0/24 -i tun0 -m comment --comment "lab direct" -j ACCEPT
`},
		{name: "twice", have: strings.Replace(inPlace, "-A POSTROUTING", "-A POSTROUTING -m comment --comment lab -j LAB-POST\n-A POSTROUTING", 1),
			edits: "-t nat -D POSTROUTING -m comment --comment lab -j LAB-POST\n"},
		{name: "of an earlier subnet", have: strings.Replace(inPlace, "-A PREROUTING", `-A PREROUTING -d 10.5.9.0/24 -i tun0 -m comment --comment "lab direct" -j ACCEPT
-A PREROUTING`, 1),
			edits: "-t raw -D PREROUTING -d 10.5.9.0/24 -i tun0 -m comment --comment \"lab direct\" -j ACCEPT\n"},
		{name: "loose rules of older releases", have: strings.Replace(inPlace, "-A POSTROUTING", `:OLD - [0:0]
-A OLD -d 10.5.0.0/16 -j ACCEPT
-A OLD ! -d 224.0.0.0/4 -j MASQUERADE
-A POSTROUTING -s 10.5.0.0/16 -j OLD
-A POSTROUTING -s 10.5.0.0/16 -d 10.5.0.0/16 -j RETURN
-A POSTROUTING -s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment lab -j MASQUERADE
-A POSTROUTING ! -s 10.5.0.0/16 -d 10.5.0.0/16 -j MASQUERADE
-A POSTROUTING`, 1),
			edits: `-t nat -D POSTROUTING -s 10.5.0.0/16 -j OLD
-t nat -D POSTROUTING -s 10.5.0.0/16 -d 10.5.0.0/16 -j RETURN
-t nat -D POSTROUTING -s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment lab -j MASQUERADE
-t nat -D POSTROUTING ! -s 10.5.0.0/16 -d 10.5.0.0/16 -j MASQUERADE
-t nat -F OLD
-t nat -X OLD
`},
		{name: "rules that somebody else might have written", have: strings.Replace(inPlace, "-A POSTROUTING", `:OLD - [0:0]
:OLD2 - [0:0]
-A OLD -d 10.6.0.0/16 -j ACCEPT
-A POSTROUTING -s 10.6.0.0/16 -m comment --comment lab -j MASQUERADE
-A POSTROUTING -s 10.5.0.0/16 -d 10.5.0.0/16 -j RETURN
-A POSTROUTING -s 10.5.3.0/24 -j MASQUERADE
-A POSTROUTING -s 10.5.3.0/24 -j LAB-POST
-A POSTROUTING -j OLD
-A POSTROUTING -s 10.5.3.0/24 -o eth0 -m comment --comment lab -j MASQUERADE
-A POSTROUTING`, 1)},
		{name: "nothing wanted", have: inPlace, none: true,
			edits: `-t filter -D FORWARD -m comment --comment lab -j LAB-FWD
-t filter -F LAB-FWD
-t filter -X LAB-FWD
-t nat -D POSTROUTING -m comment --comment lab -j LAB-POST
-t nat -F LAB-POST
-t nat -X LAB-POST
-t raw -D PREROUTING -d 10.5.1.0/24 -i tun0 -m comment --comment "lab direct" -j ACCEPT
`},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := wanted()
			if row.none {
				want = Want{}
			}
			var got strings.Builder
			edits := slices.Concat(Diff(want, Parse(row.have), owner)...)
			for _, e := range edits {
				got.WriteString(e.String() + "\n")
			}
			if d := cmp.Diff(row.edits, got.String()); d != "" {
				t.Errorf("edits (-want +got):\n%s", d)
			}
			settle(t, want, Parse(row.have))
		})
	}
}

// settle applies edits as iptables-restore does, until there are none, and checks
// that one round is enough and that others' rules are as before.
func settle(t *testing.T, want Want, have Ruleset) {
	t.Helper()
	before := foreign(want, have)
	edit(t, have, slices.Concat(Diff(want, have, owner)...))
	if left := Diff(want, have, owner); len(left) > 0 {
		t.Errorf("after the edits there are more to make: %q", left)
	}
	if d := cmp.Diff(before, foreign(want, have)); d != "" {
		t.Errorf("others' rules (-before +after):\n%s", d)
	}
}

// foreign is what no edit may touch.
func foreign(want Want, have Ruleset) map[string][]string {
	all := make(map[string][]string)
	for table, chains := range have {
		kept := make(map[string][]firewall.Rule)
		for _, c := range want.Chains {
			if c.Table == table {
				kept[c.Name] = c.Rules
			}
		}
		for name, entries := range chains {
			if _, ours := kept[name]; ours || owner.chain(chains, name) {
				continue
			}
			for _, e := range entries {
				mine := slices.ContainsFunc(want.Inserts, func(in Insert) bool {
					return in.Table == table && in.Chain == name && in.Rule == e.Rule
				})
				if !mine && !owner.inGroup(table, name, entries, e.Rule) && !owner.rule(chains, e, kept) {
					all[table+" "+name] = append(all[table+" "+name], e.Text)
				}
			}
		}
	}
	return all
}

// edit is a model of iptables-restore --noflush.
func edit(t *testing.T, set Ruleset, edits []Edit) {
	t.Helper()
	for _, e := range edits {
		table := set[e.Table]
		if table == nil {
			table = make(Table)
			set[e.Table] = table
		}
		if chain, ok := strings.CutPrefix(e.Line, ":"); ok {
			chain, _, _ = strings.Cut(chain, " ")
			table[chain] = []Entry{}
			continue
		}
		words := strings.SplitN(e.Line, " ", 3)
		chain, text := words[1], ""
		if len(words) > 2 {
			text = words[2]
		}
		if _, have := table[chain]; !have && !builtin(chain) {
			t.Fatalf("%s: there is no such chain", e)
		}
		switch words[0] {
		case "-A":
			table[chain] = append(table[chain], Entry{firewall.ParseRule(text), text})
		case "-I":
			n, rule, _ := strings.Cut(text, " ")
			at, err := strconv.Atoi(n)
			if err != nil || at < 1 || at > len(table[chain])+1 {
				t.Fatalf("%s: no such place among %d rules", e, len(table[chain]))
			}
			table[chain] = slices.Insert(table[chain], at-1, Entry{firewall.ParseRule(rule), rule})
		case "-D":
			at := slices.IndexFunc(table[chain], func(e Entry) bool { return e.Rule == firewall.ParseRule(text) })
			if at < 0 {
				t.Fatalf("%s: there is no such rule", e)
			}
			table[chain] = slices.Delete(slices.Clone(table[chain]), at, at+1)
		case "-F":
			table[chain] = nil
		case "-X":
			for name := range maps.Keys(table) {
				if slices.ContainsFunc(table[name], func(e Entry) bool { return e.Rule.Target == chain }) {
					t.Fatalf("%s: %s jumps to it", e, name)
				}
			}
			delete(table, chain)
		default:
			t.Fatalf("%s: unknown", e)
		}
	}
}

// FuzzDiff: whatever rules there are, one round of edits settles it.
func FuzzDiff(f *testing.F) {
	f.Add(inPlace, false)
	f.Add(inPlace, true)
	f.Add("*filter\n:FORWARD ACCEPT\n:OLD - [0:0]\n-A FORWARD -j DROP\n-A FORWARD -j OLD\n-A OLD -s 10.5.0.0/16 -j OLD\n-A FORWARD -m comment --comment lab -j LAB-FWD\n", false)
	f.Fuzz(func(t *testing.T, saved string, none bool) {
		want := wanted()
		if none {
			want = Want{}
		}
		settle(t, want, Parse(saved))
	})
}

// TestDiffWithAnotherChain: a rule that is wanted together with a chain comes and
// goes with it.
func TestDiffWithAnotherChain(t *testing.T) {
	want := Want{Inserts: []Insert{{"raw", "PREROUTING", firewall.Rule{Comment: "lab direct", Target: "ACCEPT"}, false, "DOCKER-USER"}}}
	const there = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m comment --comment \"lab direct\" -j ACCEPT\nCOMMIT\n"
	const docker = "*filter\n:DOCKER-USER - [0:0]\nCOMMIT\n"
	for saved, edits := range map[string]int{"": 0, docker: 1, there: 1, docker + there: 0} {
		if got := slices.Concat(Diff(want, Parse(saved), owner)...); len(got) != edits {
			t.Errorf("%q: edits are %q, want %d", saved, got, edits)
		}
	}
}

func TestVersion(t *testing.T) {
	labtest.Native(t)
	for line, want := range map[string]Flavour{
		"iptables v1.4.21\n":            {Version: Version{1, 4, 21}},
		"iptables v1.8.9 (nf_tables)\n": {NFT: true, Version: Version{1, 8, 9}},
		"iptables v1.8.4 (legacy)":      {Version: Version{1, 8, 4}},
		"ip6tables v1.8 (legacy)":       {Version: Version{1, 8, 0}},
		"iptables v1.8.11-rc1 (legacy)": {Version: Version{1, 8, 11}},
		"iptables v1.8.9(nf_tables)":    {NFT: true, Version: Version{1, 8, 9}},
	} {
		if got, err := parseVersion(line); err != nil || got != want {
			t.Errorf("parseVersion(%q) = %+v, %v, want %+v", line, got, err, want)
		}
	}
	for _, line := range []string{"", "iptables", "iptables vx", "command not found"} {
		if got, err := parseVersion(line); err == nil {
			t.Errorf("parseVersion(%q) = %+v, want an error", line, got)
		}
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func FuzzParseVersion(f *testing.F) {
	f.Add("iptables v1.8.9 (nf_tables)\n")
	f.Add("ip6tables v1.4.21")
	f.Add("iptables v0.0(nf_tables)")
	f.Add("iptables v99999999999999999999.8 (legacy)")
	f.Fuzz(func(t *testing.T, line string) {
		v, err := parseVersion(line)
		if err == nil && v.NFT != strings.Contains(line, "(nf_tables)") {
			t.Errorf("%q is %v", line, v)
		}
	})
}
