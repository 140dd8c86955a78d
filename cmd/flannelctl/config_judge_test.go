package main

import (
	"net/netip"
	"strings"
	"testing"

	"flanneld/cmd/internal/options"
	"flanneld/subnet"
)

// held are leases of vxlan hosts: "10.5.1.0/24", with a VNI "10.5.1.0/24 7", of another
// backend "10.5.1.0/24 host-gw"; of an older release with a dash before, which tells no VNI
// unless one is there.
func held(t *testing.T, texts string) (all []subnet.Lease) {
	t.Helper()
	for i, text := range strings.Split(texts, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		text, older := strings.CutPrefix(text, "-")
		subnets, what, _ := strings.Cut(text, " ")
		v4, v6, _ := strings.Cut(subnets, "&")
		l := subnet.Lease{V4: subnet.Claim{Subnet: netip.MustParsePrefix(v4), PublicIP: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})}, Type: "vxlan"}
		if v6 != "" {
			l.V6.Subnet = netip.MustParsePrefix(v6)
		}
		if !older {
			l.Node, l.V4.Data = "n"+v4, `{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"}`
		}
		switch {
		case what == "udp":
			l.Type, l.V4.Data = "", ""
		case what == "host-gw":
			l.Type, l.V4.Data = what, ""
		case what != "":
			l.V4.Data = `{"VNI":` + what + `}`
		}
		all = append(all, l)
	}
	return all
}

func TestJudge(t *testing.T) {
	const net, vx = `"Network":"10.5.0.0/16"`, `"Backend":{"Type":"vxlan"}`
	doc := func(parts ...string) string { return "{" + strings.Join(parts, ",") + "}" }
	plain := doc(net, vx)
	for _, tt := range []struct {
		name, api, was, is, leases string
		refused                    string // of the only refusal; empty: there is none
		note                       string
	}{
		{"the same", "v3", plain, doc(net, `"Backend":{"Type":"vxlan","Port":8472}`), "10.5.1.0/24,10.5.2.0/24", "", "means what it meant before"},
		{"a wider network", "v3", plain, doc(`"Network":"10.4.0.0/15"`, vx), "10.5.1.0/24,10.5.2.0/24", "", "every host keeps its subnet"},
		{"wider IPv6", "v3", doc(net, vx, `"EnableIPv6":true,"IPv6Network":"fd00::/56"`), doc(net, vx, `"EnableIPv6":true,"IPv6Network":"fd00::/48"`),
			"10.5.1.0/24&fd00:0:0:1::/64,10.5.2.0/24&fd00:0:0:2::/64", "", "every host keeps its subnet"},
		{"a narrower one with all in it", "v3", plain, doc(net, vx, `"SubnetMax":"10.5.9.0"`), "10.5.1.0/24,10.5.2.0/24", "", "until its flanneld is restarted"},
		{"a narrower one", "v3", plain, doc(net, vx, `"SubnetMax":"10.5.9.0"`), "10.5.1.0/24,10.5.20.0/24", "1 host would lose its subnet: 10.5.20.0/24 of 192.0.2.2 (node n10.5.20.0/24) (not from 10.5.1.0 to 10.5.9.0)", ""},
		{"one that was outside already", "v3", plain, doc(net, vx, `"SubnetMax":"10.5.9.0"`), "10.5.1.0/24,10.9.20.0/24", "", ""},
		{"another length", "v3", plain, doc(net, vx, `"SubnetLen":25`), "10.5.1.0/24,10.5.2.0/24,10.5.3.0/24,10.5.4.0/24", "and 1 more", ""},
		{"IPv6 from now on", "v3", plain, doc(net, vx, `"EnableIPv6":true,"IPv6Network":"fd00::/48"`), "10.5.1.0/24,10.5.2.0/24", "it has no IPv6 subnet", ""},
		{"no IPv6 any more", "v3", doc(net, vx, `"EnableIPv6":true,"IPv6Network":"fd00::/48"`), plain, "10.5.1.0/24&fd00:0:0:1::/64,10.5.2.0/24&fd00:0:0:2::/64", "there is no IPv6", ""},
		{"another backend", "v3", plain, doc(net, `"Backend":{"Type":"host-gw"}`), "10.5.1.0/24,10.5.2.0/24", "2 hosts would have another backend than host-gw", ""},
		{"one that hosts have already", "v3", plain, doc(net, `"Backend":{"Type":"host-gw"}`), "10.5.1.0/24 host-gw,10.5.2.0/24 host-gw", "", ""},
		{"from udp to alloc", "v3", doc(net), doc(net, `"Backend":{"Type":"alloc"}`), "10.5.1.0/24 udp,10.5.2.0/24 udp", "another backend than alloc", ""},
		{"udp, written", "v3", doc(net), doc(net, `"Backend":{"Type":"udp"}`), "10.5.1.0/24 udp,10.5.2.0/24 udp", "", "means what it meant before"},
		{"hosts that lag behind", "v3", plain, doc(net, vx, `"SubnetMax":"10.5.9.0"`), "10.5.1.0/24,10.5.2.0/24 host-gw", "", "1 host does not run vxlan yet"},
		{"VNI", "v3", plain, doc(net, `"Backend":{"Type":"vxlan","VNI":7}`), "10.5.1.0/24,10.5.2.0/24 7", "1 host would have another vxlan VNI than 7: 10.5.1.0/24", ""},
		{"a VNI that hosts have already", "v3", plain, doc(net, `"Backend":{"Type":"vxlan","VNI":7}`), "10.5.1.0/24 7,10.5.2.0/24 7", "", ""},
		{"a VNI of which 16 bits are told", "v3", plain, doc(net, `"Backend":{"Type":"vxlan","VNI":65543}`), "10.5.1.0/24 7,10.5.2.0/24 65543", "", ""},
		{"Port", "v3", plain, doc(net, `"Backend":{"Type":"vxlan","Port":4789}`), "10.5.1.0/24,10.5.2.0/24", "another vxlan Port than 4789", ""},
		{"Port of udp", "v3", doc(net), doc(net, `"Backend":{"Type":"udp","Port":4789}`), "10.5.1.0/24 udp,10.5.2.0/24 udp", "another udp Port than 4789", ""},
		{"GBP", "v3", plain, doc(net, `"Backend":{"Type":"vxlan","GBP":true}`), "10.5.1.0/24,10.5.2.0/24", "another vxlan GBP than true", ""},
		{"what each host decides for itself", "v3", plain, doc(net, `"Backend":{"Type":"vxlan","DirectRouting":true,"MTU":1400},"EnableNFTables":true`), "10.5.1.0/24,10.5.2.0/24", "", ""},
		{"one host", "v3", plain, doc(net, `"Backend":{"Type":"host-gw"}`), "10.5.1.0/24", "", "one host alone has a lease"},
		{"no host", "v3", plain, doc(net, `"Backend":{"Type":"host-gw"}`), "", "", "no host has a lease"},

		{"what nobody knows, and fits", "v3", "", plain, "10.5.1.0/24,10.5.2.0/24", "", ""},
		{"what nobody knows, and fits not", "v3", "", doc(`"Network":"10.6.0.0/16"`, vx), "10.5.1.0/24,10.5.2.0/24", "2 hosts would lose their subnets", ""},

		{"older hosts and a large VNI", "v3", doc(net, `"Backend":{"Type":"vxlan","VNI":70000}`), doc(net, `"Backend":{"Type":"vxlan","VNI":70000,"MTU":1400}`), "-10.5.1.0/24 70000,10.5.2.0/24 70000", "", ""},
		{"older hosts and a VNI that becomes large", "v3", plain, doc(net, `"Backend":{"Type":"vxlan","VNI":70000}`), "-10.5.1.0/24 70000,10.5.2.0/24 70000", "releases 0.14 to 0.23 refuse", ""},
		{"a port that is written, of v3", "v3", plain, doc(net, `"Backend":{"Type":"vxlan","Port":8472}`), "-10.5.1.0/24 1,10.5.2.0/24", "", ""},
		{"a port that is written, and the oldest", "v2", plain, doc(net, `"Backend":{"Type":"vxlan","Port":8472}`), "-10.5.1.0/24,10.5.2.0/24", "swap the bytes", ""},
		{"a port that was written", "v2", doc(net, `"Backend":{"Type":"vxlan","Port":8472}`), doc(net, `"Backend":{"Type":"vxlan","Port":8472,"MTU":1400}`), "-10.5.1.0/24,10.5.2.0/24", "", ""},
		{"a port that is written, and less old", "v2", plain, doc(net, `"Backend":{"Type":"vxlan","Port":8472}`), "-10.5.1.0/24 1,10.5.2.0/24", "", ""},
		{"a length that is not written", "v2", doc(`"Network":"10.5.0.0/23","SubnetLen":25`, vx), doc(`"Network":"10.5.0.0/23"`, vx), "-10.5.0.128/25,10.5.1.0/25", "another SubnetLen than 25", ""},
		{"a length that was not written", "v2", doc(`"Network":"10.5.0.0/23"`, vx), doc(`"Network":"10.5.0.0/23"`, `"Backend":{"Type":"vxlan","MTU":1400}`), "-10.5.0.128/25,10.5.1.0/25", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var was *facts
			if tt.was != "" {
				was = factsOf([]byte(tt.was))
			}
			j := judge(tt.api, was, factsOf([]byte(tt.is)), held(t, tt.leases))
			if tt.refused == "" && len(j.refused) > 0 || tt.refused != "" && (len(j.refused) != 1 || !strings.Contains(j.refused[0].Message, tt.refused) || j.refused[0].Hint == "") {
				t.Errorf("refused: %+v, want %q", j.refused, tt.refused)
			}
			if notes := strings.Join(j.notes, "\n"); !strings.Contains(notes, tt.note) {
				t.Errorf("notes: %s\nwant %q", notes, tt.note)
			}
		})
	}
}

// The older ones of both APIs' hosts know no IPv6.
func TestJudgeIPv6AndOlderHosts(t *testing.T) {
	was, is := factsOf([]byte(tenNet)), factsOf([]byte(`{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","Backend":{"Type":"vxlan"}}`))
	for api, want := range map[string]int{options.APIv2: 2, options.APIv3: 1} {
		if j := judge(api, was, is, held(t, "-10.5.1.0/24,10.5.2.0/24")); len(j.refused) != want {
			t.Errorf("%s: %+v", api, j.refused)
		}
	}
}

func FuzzToldVNI(f *testing.F) {
	for _, s := range []string{`{"VNI":1}`, `{"vni":70000}`, `{"VNI":-1}`, `{"VNI":null}`, `x`, ``} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		vni, ok := toldVNI(subnet.Lease{V4: subnet.Claim{Data: data}})
		if ok == (vni == "") || strings.Trim(vni, "0123456789") != "" {
			t.Errorf("%q tells %q, %t", data, vni, ok)
		}
	})
}
