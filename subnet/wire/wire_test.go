package wire_test

import (
	"net/netip"
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

func TestLeaseIsSpelledAsTheOriginalDoes(t *testing.T) {
	for _, tt := range []struct {
		name, key, value string
		lease            subnet.Lease
	}{
		{"udp", "10.5.34.0-24", `{"PublicIP":"1.2.3.4","PublicIPv6":null}`,
			subnet.Lease{V4: claim("10.5.34.0/24", "1.2.3.4", "")}},
		{"host-gw", "10.5.34.0-24", `{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"host-gw"}`,
			subnet.Lease{V4: claim("10.5.34.0/24", "1.2.3.4", ""), Type: "host-gw"}},
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
			if diff := cmp.Diff(tt.lease, got, cmp.Comparer(func(a, b subnet.Lease) bool { return a == b })); diff != "" {
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
		{"10.5.34.7-24", ok, "no network's address"},
		{"10.5.34.0-32", ok, "between 1 and 31"},
		{"10.5.34.0-0", ok, "between 1 and 31"},
		{"10.5.334.0-24", ok, "10.5.334.0"},
		{"10.5.34.0-24&fd00::-128", ok, "between 1 and 127"},
		{"10.5.34.0-24", "", "unexpected end"},
		{"10.5.34.0-24", "[]", "cannot unmarshal"},
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

func TestEncodeRefusesWhatBreaksOlderReleases(t *testing.T) {
	l := subnet.Lease{V4: claim("10.5.34.0/24", "fd00::1", "")}
	if v, err := wire.Encode(l); err == nil {
		t.Errorf("Encode wrote an IPv6 PublicIP: %s", v)
	}
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{"10.5.27.0-24", "10.5.27.0-24&fd00:5:0:1b::-64", "0.0.0.0-0&fd00::-64", "lock"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := wire.ParseKey(s)
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
	f.Add(`{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}`)
	f.Add(`{"PublicIP":"1.2.3.4","BackendData":"a<b>"}`)
	f.Fuzz(func(t *testing.T, s string) {
		const key = "10.5.27.0-24&fd00:5::-64"
		l, err := wire.Decode(key, s)
		if err != nil {
			return
		}
		v, err := wire.Encode(l)
		if err != nil {
			t.Fatalf("%q reads but does not write: %v", s, err)
		}
		first, err := wire.Decode(key, v)
		if err != nil {
			t.Fatalf("%q does not read again: %v", v, err)
		}
		w, err := wire.Encode(first)
		if err != nil || w != v {
			t.Errorf("written %q, then %q: %v", v, w, err)
		}
	})
}
