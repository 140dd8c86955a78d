package wire_test

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

func claim(p, ip, data string) subnet.Claim {
	c := subnet.Claim{Subnet: netip.MustParsePrefix(p), Data: data}
	if ip != "" {
		c.PublicIP = netip.MustParseAddr(ip)
	}
	return c
}

func sameLease(a, b subnet.Lease) bool { return a == b }

func TestLeaseIsSpelledAsTheOriginalDoes(t *testing.T) {
	for _, tt := range []struct {
		name, key, value string
		lease            subnet.Lease
	}{
		{"udp", "10.5.34.0-24", `{"PublicIP":"1.2.3.4","PublicIPv6":null}`,
			subnet.Lease{V4: claim("10.5.34.0/24", "1.2.3.4", "")}},
		{"host-gw", "10.5.34.0-24", `{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"host-gw"}`,
			subnet.Lease{V4: claim("10.5.34.0/24", "1.2.3.4", ""), Type: "host-gw"}},
		{"contested", "10.5.34.0-24", `{"PublicIP":"1.2.3.4","PublicIPv6":null,"NodeID":"a1","Contest":"B2"}`,
			subnet.Lease{V4: claim("10.5.34.0/24", "1.2.3.4", ""), Node: "a1", Contest: "B2"}},
		{"a mirror's copy", "10.5.34.0-24", `{"PublicIP":"1.2.3.4","PublicIPv6":null,"NodeID":"a1","Mirror":"v2"}`,
			subnet.Lease{V4: claim("10.5.34.0/24", "1.2.3.4", ""), Node: "a1", Mirror: "v2"}},
		{"vxlan", "10.5.34.0-24",
			`{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:00:00:00:01"}}`,
			subnet.Lease{V4: claim("10.5.34.0/24", "1.2.3.4", `{"VNI":1,"VtepMAC":"c6:d2:00:00:00:01"}`), Type: "vxlan"}},
		{"dual-stack", "10.5.27.0-24&fd00:5:0:1b::-64",
			`{"PublicIP":"1.2.3.4","PublicIPv6":"fd00::1","BackendType":"vxlan","BackendData":{"VNI":1},"BackendV6Data":{"VNI":2}}`,
			subnet.Lease{V4: claim("10.5.27.0/24", "1.2.3.4", `{"VNI":1}`),
				V6: claim("fd00:5:0:1b::/64", "fd00::1", `{"VNI":2}`), Type: "vxlan"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := wire.Key(tt.lease.Key()); got != tt.key {
				t.Errorf("Key = %q, want %q", got, tt.key)
			}
			value, err := wire.Encode(tt.lease)
			if err != nil || value != tt.value {
				t.Errorf("Encode = %s, %v; want %s", value, err, tt.value)
			}
			got, err := wire.Decode(tt.key, tt.value)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.lease, got, cmp.Comparer(sameLease)); diff != "" {
				t.Errorf("Decode (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeReadsOlderReleases(t *testing.T) {
	for _, tt := range []struct{ value, typ, data string }{
		{`{"PublicIP":"10.0.0.1"}`, "", ""},
		{`{"PublicIP":"10.0.0.1","BackendType":"vxlan","BackendData":{"VtepMAC":"82:4b:00:00:00:01"}}`,
			"vxlan", `{"VtepMAC":"82:4b:00:00:00:01"}`},
		{`{"publicip":"10.0.0.1","More":{"x":1}}`, "", ""},
	} {
		l, err := wire.Decode("10.5.34.0-24", tt.value)
		if err != nil || l.Type != tt.typ || l.V4.Data != tt.data {
			t.Errorf("Decode(%s) = %+v, %v", tt.value, l, err)
		}
	}
}

func TestWhatIsNoLeaseIsAnError(t *testing.T) {
	ok := `{"PublicIP":"10.0.0.1"}`
	for _, tt := range []struct{ key, value, want string }{
		{"lock", ok, "not of the form"},
		{"x10.5.34.0-24", ok, "not of the form"},
		{"10.5.34.0-24x", ok, "not of the form"},
		{"10.5.34.7-24", ok, "10.5.34.7/24 has host bits set; the subnet's address would be 10.5.34.0"},
		{"10.5.34.0-32", ok, "between 1 and 31"},
		{"10.5.34.0-0", ok, "between 1 and 31"},
		{"10.5.334.0-24", ok, "10.5.334.0 is not an IPv4 address"},
		{"10.05.34.0-24", ok, "10.05.34.0 is not an IPv4 address"},
		{"10.5.34.0/24", ok, "not of the form"},
		{"10.5.34.0-24\n", ok, "not of the form"},
		{"10.5.34.0-24&", ok, "not of the form"},
		{"10.5.34.0-24&10.6.0.0-16", ok, "10.6.0.0 is not an IPv6 address"},
		{"10.5.34.0-24&::ffff:10.0.0.0-104", ok, "not an IPv6 address"},
		{"10.5.34.0-24&fd00::1-64", ok, "the subnet's address would be fd00::"},
		{"0.0.0.0-0&fd00::-64", ok, "prefix length 0 is not between 1 and 31"},
		{strings.Repeat("1", 200), ok, "200 bytes are more than 128"},
		{"10.5.34.0-24&fd00::-128", ok, "between 1 and 127"},
		{"10.5.34.0-24", "", "unexpected end"},
		{"10.5.34.0-24", "[]", "parse value of lease 10.5.34.0-24: not a JSON object but of type array"},
		{"10.5.34.0-24", "null", "PublicIP is missing"},
		{"10.5.34.0-24", ok + "{}", "not JSON"},
		{"10.5.34.0-24", `{"PublicIP":1}`, "PublicIP is of type number, not string"},
		{"10.5.34.0-24", `{"PublicIP":"::ffff:10.0.0.1"}`, "not an IPv4 address"},
		{"10.5.34.0-24&fd00::-64", `{"PublicIP":"10.0.0.1","PublicIPv6":"10.0.0.1"}`, "PublicIPv6 \"10.0.0.1\" is not an IPv6 address"},
		{"10.5.34.0-24&fd00::-64", `{"PublicIP":"10.0.0.1","PublicIPv6":"fe80::1%eth0"}`, "not an IPv6 address"},
		{"10.5.34.0-24", `{"PublicIP":"fd00::1"}`, "not an IPv4 address"},
		{"10.5.34.0-24", `{}`, "PublicIP"},
		{"10.5.34.0-24", `{"PublicIP":"` + strings.Repeat("1", 70000) + `"}`, "are more than"},
	} {
		_, err := wire.Decode(tt.key, tt.value)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Decode(%q, %.40q) = %v, want %q in it", tt.key, tt.value, err, tt.want)
		}
	}
}

func TestKeysAreReadInOtherSpellings(t *testing.T) {
	want := subnet.Key{V4: netip.MustParsePrefix("10.5.27.0/24"), V6: netip.MustParsePrefix("fd00:5:0:1b::/64")}
	for _, s := range []string{"10.5.27.0-24&fd00:5:0:1b::-64", "10.5.27.0-24&FD00:5:0:1B::-64", "10.5.27.0-24&fd00:0005:0:1b:0:0:0:0-64"} {
		if got, err := wire.ParseKey(s); err != nil || got != want {
			t.Errorf("ParseKey(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
}

func TestDecodeKeepsDataAsItIs(t *testing.T) {
	for _, tt := range []struct{ data, want, written string }{
		{`{ "VNI": 1 }`, `{ "VNI": 1 }`, `{"VNI":1}`},
		{`"a<b>&c"`, `"a<b>&c"`, `"a\u003cb\u003e\u0026c"`},
		{`"a\u003cb"`, `"a\u003cb"`, `"a\u003cb"`},
		{`null`, ``, ``},
		{`12345678901234567890.50`, `12345678901234567890.50`, `12345678901234567890.50`},
	} {
		l, err := wire.Decode("10.5.34.0-24", `{"PublicIP":"10.0.0.1","BackendData":`+tt.data+`}`)
		if err != nil || l.V4.Data != tt.want {
			t.Errorf("data %s is read as %s, %v; want %s", tt.data, l.V4.Data, err, tt.want)
		}
		want := `{"PublicIP":"10.0.0.1","PublicIPv6":null`
		if tt.written != "" {
			want += `,"BackendData":` + tt.written
		}
		if got, err := wire.Encode(l); err != nil || got != want+"}" {
			t.Errorf("data %s is written as\n%s, %v; want\n%s}", tt.data, got, err, want)
		}
	}
}

func TestDecodeIgnoresIPv6WithoutIPv6Key(t *testing.T) {
	l, err := wire.Decode("10.5.34.0-24", `{"PublicIP":"10.0.0.1","PublicIPv6":"fd00::1","BackendV6Data":{"VNI":1}}`)
	if err != nil || l.V6 != (subnet.Claim{}) {
		t.Errorf("the IPv6 claim is %+v, %v; want none", l.V6, err)
	}
}

func TestEncodeRefusesWhatHarmsOthers(t *testing.T) {
	v6 := claim("fd00::/64", "fd00::1", "")
	for _, tt := range []struct {
		lease subnet.Lease
		want  string
	}{
		{subnet.Lease{V4: claim("10.5.34.0/24", "fd00::1", "")}, "PublicIP fd00::1 is not an IPv4 address"},
		{subnet.Lease{V4: claim("10.5.34.0/24", "::ffff:1.2.3.4", "")}, "is not an IPv4 address"},
		{subnet.Lease{V4: claim("10.5.34.0/24", "", "")}, "encode lease 10.5.34.0/24: PublicIP is missing"},
		{subnet.Lease{V6: v6}, "make no valid key"},
		{subnet.Lease{}, "make no valid key"},
		{subnet.Lease{V4: claim("10.5.34.1/24", "1.2.3.4", "")}, "make no valid key"},
		{subnet.Lease{V4: claim("10.5.34.0/32", "1.2.3.4", "")}, "make no valid key"},
		{subnet.Lease{V4: claim("10.5.34.0/24", "1.2.3.4", "{")}, "write backend data"},
		{subnet.Lease{V4: claim("10.5.34.0/24", "1.2.3.4", " ")}, "write backend data"},
		{subnet.Lease{V4: claim("10.5.34.0/24", "1.2.3.4", `"`+strings.Repeat("x", 70000)+`"`)}, "more than 65536"},
		{subnet.Lease{V4: claim("10.5.34.0/24", "1.2.3.4", ""), V6: claim("fd00::/64", "1.2.3.4", "")}, "PublicIPv6 1.2.3.4"},
	} {
		if v, err := wire.Encode(tt.lease); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Encode(%v) = %s, %v; want %q in the error", tt.lease.Key(), v, err, tt.want)
		}
	}
}

// keyForm is what releases since 0.17 read. Theirs is not anchored at the
// start; a key that has anything before the address was never written by one.
var keyForm = regexp.MustCompile(`^(\d+\.\d+\.\d+\.\d+)-(\d{1,2})(?:&([0-9A-Fa-f:.]+)-(\d{1,3}))?$`)

func FuzzKey(f *testing.F) {
	for _, s := range []string{"10.5.27.0-24", "10.5.27.0-24&fd00:5:0:1b::-64", "0.0.0.0-0&fd00::-64", "lock", "10.5.0.0-016", "10.5.0.0-+16", "10.5.0.0-16&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := wire.ParseKey(s)
		if err == nil && !keyForm.MatchString(s) {
			t.Errorf("%q reads as %v, which no other release reads", s, k)
		}
		if err != nil && keyForm.MatchString(s) && strings.Contains(err.Error(), "not of the form") {
			t.Errorf("%q: %v", s, err)
		}
		if err != nil {
			return
		}
		again, err := wire.ParseKey(wire.Key(k))
		if err != nil || again != k {
			t.Errorf("%q reads as %v and is written as %q: %v", s, k, wire.Key(k), err)
		}
	})
}

func FuzzValue(f *testing.F) {
	const v4, dual = "10.5.27.0-24", "10.5.27.0-24&fd00:5::-64"
	f.Add(v4, `{"PublicIP":"10.0.0.1"}`)
	f.Add(v4, `{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:00:00:00:01"}}`)
	f.Add(v4, `{"publicip":"1.2.3.4","BackendType":"<&>","BackendData":"a<b>","More":[1]}`)
	f.Add(dual, `{"PublicIP":"1.2.3.4","PublicIPv6":"fd00::1","BackendData": null,"BackendV6Data": [ 1 ] }`)
	f.Add(dual, `{"PublicIP":"fd00::1"}`)
	f.Add(v4, `{"PublicIP":"10.0.0.1","NodeID":"a-1","Contest":[1],"Mirror":"v2"}`)
	f.Add("10.5.27.0-8", `[]`)
	f.Fuzz(func(t *testing.T, key, s string) {
		// Escapes make a value up to six times as long, and then too long.
		if len(s) > 10000 {
			return
		}
		l, err := wire.Decode(key, s)
		if err != nil {
			return
		}
		v, err := wire.Encode(l)
		if err != nil {
			t.Fatalf("%q reads but does not write: %v", s, err)
		}
		// Writing takes the blanks out of the data and escapes it; nothing else
		// may change.
		again, err := wire.Decode(wire.Key(l.Key()), v)
		if err != nil {
			t.Fatalf("%q does not read again: %v", v, err)
		}
		l.V4.Data, l.V6.Data = asWritten(t, l.V4.Data), asWritten(t, l.V6.Data)
		if diff := cmp.Diff(l, again, cmp.Comparer(sameLease)); diff != "" {
			t.Errorf("%q is written as %q (-read +read again):\n%s", s, v, diff)
		}
	})
}

// asWritten returns JSON in the form that encoding/json gives a RawMessage.
func asWritten(t *testing.T, data string) string {
	if data == "" {
		return ""
	}
	b, err := json.Marshal(json.RawMessage(data))
	if err != nil {
		t.Fatalf("data %q is no JSON: %v", data, err)
	}
	return string(b)
}
