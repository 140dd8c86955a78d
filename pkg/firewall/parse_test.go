package firewall_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/firewall"
)

var compare = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func TestParseRule(t *testing.T) {
	network, multicast := netip.MustParsePrefix("10.5.0.0/16"), netip.MustParsePrefix("224.0.0.0/4")
	for text, want := range map[string]firewall.Rule{
		"": {},
		`-s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully`: {
			Src: firewall.In(network), Dst: firewall.Outside(multicast), Comment: "flanneld masq",
			Target: firewall.Masquerade, Options: "--random-fully",
		},
		`-d 10.5.1.2/32 ! -i docker0 -j DROP`: {
			Dst: firewall.In(netip.MustParsePrefix("10.5.1.2/32")), In: firewall.Iface{Name: "docker0", Not: true}, Target: firewall.Drop,
		},
		`-m mark --mark 0x4000/0x4000 -m comment --comment masq -j RETURN`: {
			Mark: firewall.Mark{Value: 0x4000, Mask: 0x4000}, Comment: "masq", Target: firewall.Return,
		},
		`-m mark --mark 0x1 -o eth0`:          {Mark: firewall.Mark{Value: 1, Mask: 0xffffffff}, Out: firewall.Iface{Name: "eth0"}},
		`-p tcp -m tcp --dport 80 -j X`:       {Other: "-p tcp -m tcp --dport 80", Target: "X"},
		`! -p tcp -g X`:                       {Other: "! -p tcp -g X"},
		`-m mark ! --mark 0x1 -j X`:           {Other: "-m mark ! --mark 0x1", Target: "X"},
		`-m comment --comment "a \"b\" \\ c"`: {Comment: `a "b" \ c`},
		`-s 10.5.0.1/16 -j X`:                 {Other: "-s 10.5.0.1/16", Target: "X"},
		`-j REJECT --reject-with icmp-port`:   {Target: "REJECT", Options: "--reject-with icmp-port"},
		`-s 10.5.0.0/16 -s 10.5.0.0/16`:       {Src: firewall.In(network), Other: "-s 10.5.0.0/16"},
		`-j`:                                  {Other: "-j"},
		`! `:                                  {Other: "!"},
	} {
		if d := cmp.Diff(want, firewall.ParseRule(text), compare); d != "" {
			t.Errorf("%s (-want +got):\n%s", text, d)
		}
	}
}

// FuzzParseRule: what is printed of a rule reads as the same rule.
func FuzzParseRule(f *testing.F) {
	f.Add(`-s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully`)
	f.Add(`-m mark --mark 0x4000/0x4000 ! -i docker0 -o "a b" -m set --match-set "x y" dst -j RETURN`)
	f.Add(`-m comment --comment "\"\\'" -g "`)
	f.Fuzz(func(t *testing.T, text string) {
		r := firewall.ParseRule(text)
		if again := firewall.ParseRule(r.String()); again != r && r.Other == "" && r.Options == "" {
			t.Errorf("%q is %+v, printed %q is %+v", text, r, r, again)
		}
	})
}
