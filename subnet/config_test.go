package subnet_test

import (
	"fmt"
	"strings"
	"testing"

	"flanneld/subnet"
)

func TestParseConfigFillsInDefaults(t *testing.T) {
	for _, tt := range []struct{ doc, want string }{
		{`{"Network":"10.100.0.0/16"}`, "10.100.0.0/16 /24 10.100.1.0-10.100.255.0 udp"},
		{`{"network":"10.100.3.4/16","backend":{"type":"VXLAN"}}`, "10.100.0.0/16 /24 10.100.1.0-10.100.255.0 vxlan"},
		{`{"Network":"10.0.0.0/8","SubnetLen":20,"SubnetMin":"10.10.0.0","SubnetMax":"10.99.0.0"}`, "10.0.0.0/8 /20 10.10.0.0-10.99.0.0 udp"},
		{`{"Network":"10.0.0.0/22"}`, "10.0.0.0/22 /24 10.0.1.0-10.0.3.0 udp"},
		{`{"Network":"10.0.0.0/23"}`, "10.0.0.0/23 /25 10.0.0.128-10.0.1.128 udp"},
		{`{"Network":"10.0.0.0/28"}`, "10.0.0.0/28 /30 10.0.0.4-10.0.0.12 udp"},
		{"\xef\xbb\xbf" + ` {"Network":"10.0.0.0/22"} `, "10.0.0.0/22 /24 10.0.1.0-10.0.3.0 udp"},
	} {
		c, _, err := subnet.ParseConfig([]byte(tt.doc))
		got := fmt.Sprintf("%s /%d %s-%s %s", c.V4.Network, c.V4.SubnetLen, c.V4.Min, c.V4.Max, c.Type)
		if err != nil || got != tt.want {
			t.Errorf("ParseConfig(%s)\n got %s, %v\nwant %s", tt.doc, got, err, tt.want)
		}
	}
}

func TestParseConfigReadsIPv6(t *testing.T) {
	c, _, err := subnet.ParseConfig([]byte(`{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48"}`))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%s /%d %s-%s", c.V6.Network, c.V6.SubnetLen, c.V6.Min, c.V6.Max)
	if want := "fd00::/48 /64 fd00:0:0:1::-fd00:0:0:ffff::"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseConfigSaysWhatIsWrongAndWhere(t *testing.T) {
	for _, tt := range []struct{ doc, want string }{
		{``, "empty"},
		{`[]`, "not a JSON object"},
		{"{\"Network\":\"10.1.0.0/16\",\n \"Backend\":{\"Type\":\"vxlan\",}}", "line 2, column 27: a comma before the closing brace"},
		{`{"Network":"10.1.0.0/16",}`, "line 1, column 25: a comma before"},
		{`{'Network':"10.1.0.0/16"}`, "plain double quotes"},
		{`{"Network":"10.1.0.0/16"`, "ends too early"},
		{`{"Network":"10.1.0.0/16"} x`, "line 1, column 27"},
		{`{"Netwrok":"10.1.0.0/16"}`, `line 1, column 2: unknown key "Netwrok" (did you mean "Network"?`},
		{`{}`, "please define a correct Network parameter"},
		{`{"Network":"10.1.0.0"}`, "is not a network"},
		{`{"Network":"10.1.0.0/29"}`, "Network is too small. Minimum useful network prefix is /28"},
		{`{"Network":"10.1.0.0/16","SubnetLen":"24"}`, "line 1, column 38: SubnetLen is a string (write a whole number without quotes"},
		{`{"Network":"10.1.0.0/16","SubnetLen":31}`, "SubnetLen must be less than /31"},
		{`{"Network":"10.1.0.0/16","SubnetLen":17}`, "at least four subnets"},
		{`{"Network":"10.1.0.0/16","SubnetMin":"10.1.7.9"}`, "SubnetMin is not on a SubnetLen boundary: 10.1.7.9 (the subnet around it begins at 10.1.7.0)"},
		{`{"Network":"10.1.0.0/16","SubnetMin":"10.2.0.0"}`, "SubnetMin is not in the range of the Network"},
		{`{"Network":"10.1.0.0/16","SubnetMax":"10.2.0.0"}`, "SubnetMax is not in the range of the Network"},
		{`{"Network":"10.1.0.0/16","SubnetMin":"10.1.9.0","SubnetMax":"10.1.8.0"}`, "lies after"},
		{`{"Network":"10.1.0.0/16","Backend":{}}`, "Backend has no Type"},
		{`{"Network":"10.1.0.0/16","Backend":"vxlan"}`, "Backend is not an object"},
		{`{"Network":"10.1.0.0/16","network":"10.2.0.0/16"}`, "there twice"},
		{`{"EnableIPv4":false}`, "neither IPv4 nor IPv6"},
		{`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48"}`, "IPv6 without IPv4"},
	} {
		_, _, err := subnet.ParseConfig([]byte(tt.doc))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseConfig(%s)\n got %v\nwant %s", tt.doc, err, tt.want)
		}
	}
}

func TestParseConfigWarns(t *testing.T) {
	_, warnings, err := subnet.ParseConfig([]byte(`{"Network":"10.1.0.0/24","SubnetLn":25,"Owner":"me"}`))
	if err != nil || len(warnings) != 3 {
		t.Fatalf("got %q, %v; want three warnings", warnings, err)
	}
	for i, want := range []string{`did you mean "SubnetLen"`, `unknown key "Owner"`, "releases before 0.10"} {
		if !strings.Contains(warnings[i], want) {
			t.Errorf("warning %d is %q, want %q in it", i, warnings[i], want)
		}
	}
}

func TestDifferenceNamesWhatChanged(t *testing.T) {
	a, _, _ := subnet.ParseConfig([]byte(`{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}}`))
	b, _, _ := subnet.ParseConfig([]byte(`{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan", "VNI":2}}`))
	if got := subnet.Difference(a, a); got != "" {
		t.Errorf("Difference of equals is %q", got)
	}
	if got, want := subnet.Difference(a, b), `Backend {"Type":"vxlan"} → {"Type":"vxlan","VNI":2}`; got != want {
		t.Errorf("Difference is %q, want %q", got, want)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(`{"Network":"10.100.0.0/16","SubnetLen":24,"Backend":{"Type":"vxlan","VNI":1}}`)
	f.Add(`{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":64}`)
	f.Add(`{"Network":"10.1.0.0/16",}`)
	f.Fuzz(func(t *testing.T, doc string) {
		c, _, err := subnet.ParseConfig([]byte(doc))
		if err != nil {
			return
		}
		for _, r := range []subnet.Range{c.V4, c.V6} {
			if !r.Enabled() {
				continue
			}
			if r.Max.Less(r.Min) || !r.Network.Contains(r.Min) || !r.Network.Contains(r.Max) {
				t.Errorf("%q gives the range %+v", doc, r)
			}
		}
	})
}
