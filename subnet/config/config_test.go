package config_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/subnet/config"
)

func TestParseFillsInDefaults(t *testing.T) {
	for _, tt := range []struct{ doc, want string }{
		{`{"Network":"10.100.0.0/16"}`, "10.100.0.0/16 /24 10.100.1.0-10.100.255.0 udp"},
		{`{"network":"10.100.3.4/16","backend":{"type":"VXLAN"}}`, "10.100.0.0/16 /24 10.100.1.0-10.100.255.0 vxlan"},
		{`{"Network":"10.0.0.0/8","SubnetLen":20,"SubnetMin":"10.10.0.0","SubnetMax":"10.99.0.0"}`, "10.0.0.0/8 /20 10.10.0.0-10.99.0.0 udp"},
		{`{"Network":"10.0.0.0/22"}`, "10.0.0.0/22 /24 10.0.1.0-10.0.3.0 udp"},
		{`{"Network":"10.0.0.0/23"}`, "10.0.0.0/23 /25 10.0.0.128-10.0.1.128 udp"},
		{`{"Network":"10.0.0.0/28"}`, "10.0.0.0/28 /30 10.0.0.4-10.0.0.12 udp"},
		{`{"Network":"10.0.0.0/8","SubnetMin":"10.0.0.0"}`, "10.0.0.0/8 /24 10.0.0.0-10.255.255.0 udp"},
		{`{"Network":"10.0.0.0/24","SubnetLen":30,"SubnetMin":"10.0.0.8","SubnetMax":"10.0.0.8"}`, "10.0.0.0/24 /30 10.0.0.8-10.0.0.8 udp"},
		{`{"Network":"255.255.255.240/28"}`, "255.255.255.240/28 /30 255.255.255.244-255.255.255.252 udp"},
		{"\xef\xbb\xbf" + ` {"Network":"10.0.0.0/22"} `, "10.0.0.0/22 /24 10.0.1.0-10.0.3.0 udp"},
	} {
		c, _, err := config.Parse([]byte(tt.doc))
		got := fmt.Sprintf("%s /%d %s-%s %s", c.V4.Network, c.V4.SubnetLen, c.V4.Min, c.V4.Max, c.Type)
		if err != nil || got != tt.want {
			t.Errorf("Parse(%s)\n got %s, %v\nwant %s", tt.doc, got, err, tt.want)
		}
	}
}

func TestParseReadsIPv6(t *testing.T) {
	for _, tt := range []struct{ fields, want string }{
		{`"IPv6Network":"fd00::/48"`, "fd00::/48 /64 fd00:0:0:1::-fd00:0:0:ffff::"},
		{`"IPv6Network":"fd00::/62"`, "fd00::/62 /64 fd00:0:0:1::-fd00:0:0:3::"},
		{`"IPv6Network":"fd00::/63"`, "fd00::/63 /65 fd00::8000:0:0:0-fd00:0:0:1:8000::"},
		{`"IPv6Network":"fd00::/124"`, "fd00::/124 /126 fd00::4-fd00::c"},
		{`"ipv6network":"fd00::/48","IPv6SubnetLen":56,"IPv6SubnetMin":"fd00::","IPv6SubnetMax":"fd00:0:0:400::"`, "fd00::/48 /56 fd00::-fd00:0:0:400::"},
	} {
		c, _, err := config.Parse([]byte(`{"Network":"10.5.0.0/16","EnableIPv6":true,` + tt.fields + `}`))
		got := fmt.Sprintf("%s /%d %s-%s", c.V6.Network, c.V6.SubnetLen, c.V6.Min, c.V6.Max)
		if err != nil || got != tt.want {
			t.Errorf("%s\n got %s, %v\nwant %s", tt.fields, got, err, tt.want)
		}
	}
}

func TestParseSaysWhatIsWrongAndWhere(t *testing.T) {
	for _, tt := range []struct{ doc, want string }{
		{``, "empty"},
		{`[]`, "not a JSON object"},
		{"{\"Network\":\"10.1.0.0/16\",\n \"Backend\":{\"Type\":\"vxlan\",}}", "line 2, column 27: a comma before the closing brace"},
		{`{"Network":"10.1.0.0/16",}`, "line 1, column 25: a comma before"},
		{`{'Network':"10.1.0.0/16"}`, "plain double quotes"},
		{`{"Network":"10.1.0.0/16"`, "line 1, column 25: the document ends too early"},
		{"{\"Network\":\"10.1.0.0/16\"\n", "line 2, column 1: the document ends too early"},
		{`{"Network":"10.1.0.0/16",,"SubnetLen":24}`, "line 1, column 26: a comma where"},
		{`{"Network":"10.1.0.0/16", "SubnetLen":,}`, "line 1, column 39: a comma where"},
		{`{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan","L":[1,]}}`, "line 1, column 58: a comma before"},
		{"{\n// our network\n\"Network\":\"10.1.0.0/16\"}", "line 2, column 1: a comment (remove it"},
		{"{\"Network\":\"10.1.0.0/16\" # ours\n}", "line 1, column 26: a comment"},
		{"{\"Network\":\"10.1.0.0/16\" /* ours */}", "line 1, column 26: a comment"},
		{`{“Network”:"10.1.0.0/16"}`, "line 1, column 2: a quote that JSON does not know (use plain double quotes"},
		{`{"Network”:"10.1.0.0/16"}`, "line 1, column 10: a quote that JSON does not know"},
		{`{"Network":"10.1.0.0/16”}`, "line 1, column 24: a quote that JSON does not know"},
		{`{"Network":“10.1.0.0/16”}`, "line 1, column 12: a quote that JSON does not know"},
		{"{\"Network\":\"10.1.0.0/16\n}", "line 1, column 24: the line ends within quotes"},
		{`{Network:10.1.0.0/16}`, "line 1, column 2: a key without quotes"},
		{`{"Network":"10.1.0.0/16" "SubnetLen":24}`, "a comma or colon is missing"},
		{"\xff\xfe{\x00}\x00", "UTF-16"},
		{" null", "line 1, column 2: the document is null, not a JSON object"},
		{`"{}"`, "the document is a string"},
		{strings.Repeat("[", 20000), "exceeded max depth"},
		{`{"a":"` + strings.Repeat("x", 1<<20) + `"}`, "more than 1048576"},
		{`{"Network":"10.1.0.0/16"} x`, "line 1, column 27: something follows the end"},
		{`{"Netwrok":"10.1.0.0/16"}`, `line 1, column 2: unknown key "Netwrok" (did you mean "Network"?`},
		{`{}`, "please define a correct Network parameter"},
		{`{"Network":null}`, "Network is missing"},
		{`{"Network":10}`, "line 1, column 12: Network is the number 10 (write a network in quotes"},
		{`{"Network":"10.1.0.0"}`, `Network "10.1.0.0" is not a network (write it as "10.100.0.0/16")`},
		{`{"Network":"fd00::/48"}`, "is not a network"},
		{`{"Network":"10.1.0.0/16","SubnetLen":24.5}`, "SubnetLen is the number 24.5 (a number is expected: write a whole number"},
		{`{"Network":"10.1.0.0/16","SubnetLen":true}`, "SubnetLen is a boolean (a number is expected: write a whole number"},
		{`{"Network":"10.1.0.0/16","SubnetLen":"x"}`, "SubnetLen is a string (a number is expected: write a whole number"},
		{`{"Network":"10.1.0.0/16","SubnetLen":0}`, "at least four subnets; SubnetLen is 0 (in 10.1.0.0/16 it is 18 or more"},
		{`{"Network":"10.1.0.0/16","EnableIPv6":"true"}`, "EnableIPv6 is a string (a boolean is expected: write true without quotes)"},
		{`{"Network":"10.1.0.0/16","SubnetMin":"10.1.1.0/24"}`, `"10.1.1.0/24" is not an address (write an address without a length, such as "10.1.1.0")`},
		{`{"Network":"10.1.0.0/16","SubnetMin":"10.1.7.200"}`, "the nearest subnet begins at 10.1.8.0"},
		{`{"Network":"10.1.0.0/16","SubnetMax":"10.1.255.200"}`, "the nearest subnet begins at 10.1.255.0"},
		{`{"Network":"10.1.0.0/16","SubnetMax":"10.1.0.0"}`, "SubnetMax 10.1.0.0 lies before SubnetMin, which is 10.1.1.0 if it is not set (raise it or set SubnetMin to 10.1.0.0)"},
		{`{"Network":"10.1.0.0/16","EnableIPv6":true}`, "IPv6Network is missing"},
		{`{"Network":"10.1.0.0/16","EnableIPv6":true,"IP6Network":"fd00::/48"}`, `column 44: unknown key "IP6Network" (did you mean "IPv6Network"?`},
		{`{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"10.0.0.0/8"}`, "IPv6Network \"10.0.0.0/8\" is not a network"},
		{`{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"::ffff:0:0/96"}`, "is not a network"},
		{`{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/125"}`, "Minimum useful network prefix is /124"},
		{`{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":127}`, "IPv6SubnetLen must be less than /127"},
		{`{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":49}`, "at least four subnets"},
		{`{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetMin":"fd00::9"}`, "IPv6SubnetMin is not on a SubnetLen boundary: fd00::9 begins no /64 (the nearest subnet begins at fd00::)"},
		{`{"Network":"10.1.0.0/16","Backend":{"Typ":"vxlan"}}`, `Backend has no Type (did you mean "Type" by "Typ"?)`},
		{`{"Network":"10.1.0.0/16","Backend":{"Type":""}}`, "column 44: Backend has no Type"},
		{`{"Network":"10.1.0.0/16","Backend":{"Type":1}}`, "column 44: Backend Type is the number 1"},
		{`{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan","VNI":1,"vni":2}}`, `column 60: Backend option "vni" is there twice`},
		{`{"Network":"10.1.0.0/16","Owner":1,"owner":2}`, `column 36: "owner" is there twice`},
		{`{"Network":"0.0.0.0/0"}`, `line 1, column 12: Network 0.0.0.0/0 overlaps 0.0.0.0/8, which is not for containers (write a private network that no host is in, such as "10.100.0.0/16")`},
		{`{"Network":"96.0.0.0/3"}`, "96.0.0.0/3 overlaps 127.0.0.0/8"},
		{`{"Network":"127.0.0.0/8"}`, "overlaps 127.0.0.0/8"},
		{`{"Network":"169.254.7.0/24"}`, "overlaps 169.254.0.0/16"},
		{`{"Network":"224.0.0.0/4"}`, "overlaps 224.0.0.0/4"},
		{`{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"::/0"}`, "IPv6Network ::/0 overlaps ::/127"},
		{`{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"fe80::/64"}`, "overlaps fe80::/10"},
		{`{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"ff02::/16"}`, "overlaps ff00::/8"},
		{`{"Network":"10.1.0.0/29"}`, "Network is too small. Minimum useful network prefix is /28"},
		{`{"Network":"10.1.0.0/16","SubnetLen":"24"}`, "line 1, column 38: SubnetLen is a string (a number is expected: write 24 without quotes)"},
		{`{"Network":"10.1.0.0/16","SubnetLen":31}`, "SubnetLen must be less than /31"},
		{`{"Network":"10.1.0.0/16","SubnetLen":17}`, "at least four subnets"},
		{`{"Network":"10.1.0.0/16","SubnetMin":"10.1.7.9"}`, "SubnetMin is not on a SubnetLen boundary: 10.1.7.9 begins no /24 (the nearest subnet begins at 10.1.7.0)"},
		{`{"Network":"10.1.0.0/16","SubnetMin":"10.2.0.0"}`, "SubnetMin is not in the range of the Network"},
		{`{"Network":"10.1.0.0/16","SubnetMax":"10.2.0.0"}`, "SubnetMax is not in the range of the Network"},
		{`{"Network":"10.1.0.0/16","SubnetMin":"10.1.9.0","SubnetMax":"10.1.8.0"}`, "lies after"},
		{`{"Network":"10.1.0.0/16","Backend":{}}`, "Backend has no Type"},
		{`{"Network":"10.1.0.0/16","Backend":"vxlan"}`, "line 1, column 36: Backend is a string, not an object"},
		{`{"Network":"10.1.0.0/16","network":"10.2.0.0/16"}`, "there twice"},
		{`{"EnableIPv4":false}`, "column 15: none defined stack: neither IPv4 nor IPv6"},
		{`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48"}`, "IPv6 without IPv4 (v6-only) is unsupported (set EnableIPv4 to true"},
	} {
		_, _, err := config.Parse([]byte(tt.doc))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Parse(%.200s)\n got %v\nwant %s", tt.doc, err, tt.want)
		} else if _, ok := errors.AsType[*config.Error](err); !ok {
			t.Errorf("Parse(%.200s) returns a %T", tt.doc, err)
		}
	}
}

func TestParseWarns(t *testing.T) {
	for _, tt := range []struct {
		name, doc string
		want      []string
	}{
		{"nothing to say", `{"Network":"10.1.0.0/16","EnableIPv6":false,"EnableNFTables":true}`, nil},
		{"unknown keys", "{\"Network\":\"10.1.0.0/16\",\n\"SubnetLn\":25,\"Owner\":\"me\"}", []string{
			`line 2, column 1: unknown key "SubnetLn" (did you mean "SubnetLen"? It is ignored)`,
			`line 2, column 15: unknown key "Owner" (it is ignored)`}},
		{"default that differs by release", `{"Network":"10.1.0.0/24"}`, []string{
			"no SubnetLen for the Network 10.1.0.0/24: it is /26, but /25 in releases before 0.10; set SubnetLen if hosts with these are in the cluster"}},
		{"the same for a /23", `{"Network":"10.1.0.0/23"}`, []string{
			"no SubnetLen for the Network 10.1.0.0/23: it is /25, but /24 in releases before 0.10; set SubnetLen if hosts with these are in the cluster"}},
		{"it is set", `{"Network":"10.1.0.0/24","SubnetLen":26}`, nil},
		{"host bits", `{"Network":"10.1.2.3/16"}`, []string{
			"Network 10.1.2.3/16 has bits set beyond its length; it is read as 10.1.0.0/16"}},
		{"IPv6 is off", `{"Network":"10.1.0.0/16","IPv6Network":"fd00::/48"}`, []string{
			"IPv6Network is ignored, since EnableIPv6 is not true"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, got, err := config.Parse([]byte(tt.doc))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseAllFindsAllThatIsWrong(t *testing.T) {
	const network = `"Network":"10.1.0.0/16",`
	for _, tt := range []struct {
		name, doc string
		want      []string // "key: what is wrong"; the first is that of Parse
		typ       string
	}{
		{"both bounds", `{` + network + `"SubnetMin":"10.2.0.0","SubnetMax":"x"}`, []string{"SubnetMin: SubnetMin is not in the range", `SubnetMax: SubnetMax "x" is not an address`}, "udp"},
		{"a length, and a bound that it does not decide about", `{` + network + `"SubnetLen":31,"SubnetMin":"10.1.3.128","SubnetMax":"10.2.0.0"}`,
			[]string{"SubnetLen: SubnetLen must be less", "SubnetMax: SubnetMax is not in the range"}, "udp"},
		{"a length of another type", `{` + network + `"SubnetLen":"25","SubnetMin":"10.1.3.128"}`, []string{"SubnetLen: SubnetLen is a string"}, "udp"},
		{"a bound of another type", `{` + network + `"SubnetMin":1,"SubnetMax":"10.1.0.0"}`, []string{"SubnetMin: SubnetMin is the number 1"}, "udp"},
		{"a network hides what is in it", `{"Network":"10.1.0.0","SubnetMin":"10.2.0.0","Backend":{"Type":7}}`, []string{`Network: Network "10.1.0.0" is not`, "Backend.Type: Backend Type is the number 7"}, ""},
		{"a network of another type is not missing", `{"Network":1,"EnableNFTables":"yes","Backend":{"Type":"vxlan"}}`, []string{"Network: Network is the number 1", "EnableNFTables: EnableNFTables is a string"}, "vxlan"},
		{"none, and a misspelt one", `{"Netwrok":"10.1.0.0/16","SubnetLen":"x","Backend":[]}`, []string{"SubnetLen: SubnetLen is a string", `Network: unknown key "Netwrok"`, "Backend: Backend is an array"}, ""},
		{"both families", `{` + network + `"SubnetLen":8,"EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":127}`,
			[]string{"SubnetLen: Network must be able", "IPv6SubnetLen: IPv6SubnetLen must be less"}, "udp"},
		{"twice", `{` + network + `"network":"x","SubnetMin":"10.2.0.0","Backend":{"Type":"vxlan","VNI":1,"vni":2,"type":"udp"}}`,
			[]string{`network: "network" is there twice`, `Backend.vni: Backend option "vni" is there twice`, `Backend.type: Backend option "type" is there twice`}, "vxlan"},
		{"no syntax, nothing else", `{` + network + `"SubnetLen":"x",}`, []string{": a comma before"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _, err := config.ParseAll([]byte(tt.doc))
			e, ok := errors.AsType[*config.Error](err)
			if !ok || cfg.Type != tt.typ || len(e.Also) != len(tt.want)-1 {
				t.Fatalf("type %q, %#v; want %q", cfg.Type, err, tt.want)
			}
			for i, e := range append([]*config.Error{e}, e.Also...) {
				if got := e.Key + ": " + e.Msg; !strings.HasPrefix(got, tt.want[i]) || e.Hint == "" {
					t.Errorf("%d is %q (%s), want %q", i, got, e.Hint, tt.want[i])
				}
			}
			if _, _, first := config.Parse([]byte(tt.doc)); first.Error() != err.Error() || strings.Contains(first.Error(), "\n") {
				t.Errorf("Parse says %v, ParseAll %v", first, err)
			}
		})
	}
}

// Anybody who can write to etcd can write a document with a million keys.
func TestParseBoundsItsErrors(t *testing.T) {
	doc := `{"Network":"10.1.0.0/16"` + strings.Repeat(`,"a":0`, 100_000) + `}`
	_, _, err := config.Parse([]byte(doc))
	if e, ok := errors.AsType[*config.Error](err); !ok || len(e.Also) != 9 {
		t.Errorf("%#v; want 10 errors", err)
	}
}

func TestParseBoundsItsWarnings(t *testing.T) {
	var doc strings.Builder
	doc.WriteString(`{"Network":"10.1.0.0/16"`)
	for i := range 5000 {
		fmt.Fprintf(&doc, ",\n\"x%d\":0", i)
	}
	doc.WriteString("}")
	_, warnings, err := config.Parse([]byte(doc.String()))
	if err != nil || len(warnings) != 11 || warnings[10] != "4990 more unknown keys are ignored" {
		t.Errorf("%d warnings, %v; want 10 and a count", len(warnings), err)
	}
}

func TestParseKeepsTheBackend(t *testing.T) {
	for _, tt := range []struct{ doc, typ, backend string }{
		{`{"Network":"10.1.0.0/16"}`, "udp", ""},
		{`{"Network":"10.1.0.0/16","Backend":null}`, "udp", ""},
		{`{"Network":"10.1.0.0/16","Backend":{ "VNI": 1, "tYPE":"Host-GW"} }`, "host-gw", `{ "VNI": 1, "tYPE":"Host-GW"}`},
	} {
		c, _, err := config.Parse([]byte(tt.doc))
		if err != nil || c.Type != tt.typ || string(c.Backend) != tt.backend || (c.Backend == nil) != (tt.backend == "") {
			t.Errorf("Parse(%s) has the backend %q %s, %v", tt.doc, c.Type, c.Backend, err)
		}
	}
}

// Whoever copies the example from the documentation must get what it says.
func TestDocumentedExamplesAreValid(t *testing.T) {
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```json\n(.*?)```|'(\\{.*?\\})'").FindAllSubmatch(doc, -1)
	if len(examples) < 2 {
		t.Errorf("found %d examples, want at least two", len(examples))
	}
	for _, e := range examples {
		c, warnings, err := config.Parse(append(e[1], e[2]...))
		if err != nil || len(warnings) > 0 || c.Type != "vxlan" {
			t.Errorf("%s\ngives %+v, %q, %v", e[0], c, warnings, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	for _, doc := range []string{
		`{"Network":"10.100.0.0/16","SubnetLen":24,"Backend":{"Type":"vxlan","VNI":1}}`,
		`{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":64}`,
		`{"Network":"10.0.0.0/8","SubnetLen":20,"SubnetMin":"10.10.0.0","SubnetMax":"10.99.0.0"}`,
		`{"Network":"255.255.255.240/28"}`, `{"Network":"0.0.0.0/0","SubnetLen":2}`,
		`{"Network":"10.1.0.0/16",}`, `{“Network”:""}`, "\xef\xbb\xbf{}", `{"Netwrok":1,"Backend":[]}`,
	} {
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		c, _, err := config.Parse([]byte(doc))
		if err != nil {
			if e, ok := errors.AsType[*config.Error](err); !ok || e.Msg == "" || e.Line > strings.Count(doc, "\n")+1 || e.Col > len(doc)+1 {
				t.Errorf("%q gives the error %#v", doc, err)
			}
			return
		}
		if c.Type == "" || c.Type != strings.ToLower(c.Type) || !c.V4.Enabled() {
			t.Errorf("%q gives %+v", doc, c)
		}
		for _, r := range []config.Range{c.V4, c.V6} {
			if !r.Enabled() {
				continue
			}
			// Whoever leases between Min and Max relies on this.
			for _, a := range []netip.Addr{r.Min, r.Max} {
				if p := netip.PrefixFrom(a, r.SubnetLen); !r.Contains(p) || !r.Network.Contains(a) {
					t.Errorf("%q gives the range %+v, in which %s cannot be leased", doc, r, p)
				}
			}
		}
		if got := config.Diff(c, c); got != "" {
			t.Errorf("%q differs from itself: %s", doc, got)
		}
	})
}

func TestSparesWhereTheGatewayIs(t *testing.T) {
	gateways := []netip.Addr{netip.MustParseAddr("10.1.7.1"), netip.MustParseAddr("fd00::7:0:0:0:1")}
	for doc, want := range map[string]string{
		`{"Network":"10.2.0.0/16"}`: "",
		`{"Network":"10.1.0.0/16"}`: "default gateway 10.1.7.1 lies in the Network 10.1.0.0/16 (write another Network, or SubnetMin and SubnetMax",
		`{"Network":"10.1.7.0/24"}`: "", // in the first subnet, which is not leased
		`{"Network":"10.1.0.0/16","SubnetMin":"10.1.8.0","SubnetMax":"10.1.200.0"}`: "",
		`{"Network":"10.1.0.0/16","SubnetMax":"10.1.200.0"}`:                        "", // somebody has thought of it
		`{"Network":"10.2.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48"}`:     "default gateway fd00:0:0:7::1 lies in the Network fd00::/48",
	} {
		cfg, _, err := config.Parse([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if err := cfg.Spares(gateways); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
	}
}
