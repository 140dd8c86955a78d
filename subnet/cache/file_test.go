package cache_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"flanneld/subnet"
	"flanneld/subnet/cache"
	"flanneld/subnet/config"
)

const configDoc = "{\n \"Network\": \"10.0.0.0/8\", \"Backend\": {\"Type\": \"vxlan\"}, \"x\": \"ü<&>\"\n}\n"

var saved = cache.Moment{Boot: "1d2e", Since: 3 * time.Hour, Wall: time.Date(2026, 10, 1, 12, 0, 0, 5, time.UTC)}

// lease returns one of 10.x.y.0/24, as the vxlan backend would have it.
func lease(i int) subnet.Lease {
	a := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0})
	return subnet.Lease{
		V4: subnet.Claim{Subnet: netip.PrefixFrom(a, 24), PublicIP: netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)}),
			Data: fmt.Sprintf(`{"VNI":1,"VtepMAC":"02:00:00:00:%02x:%02x"}`, byte(i>>8), byte(i))},
		Type: "vxlan", Node: fmt.Sprintf("0123456789abcdef0123456789ab%04x", i),
		Expires: saved.Wall.Add(24*time.Hour - time.Duration(i)*time.Second), Rev: subnet.Revision(1000 + i),
	}
}

// known is of a cluster with so many other hosts.
func known(peers int) cache.Known {
	k := cache.Known{
		Host: cache.Host{Node: "n1", Prefix: "/coreos.com/network"}, API: "v3",
		Config: config.Document{Raw: []byte(configDoc), Rev: 7},
		Own:    lease(1), Sent: saved.Add(-time.Hour / 2), Until: saved.Add(23 * time.Hour), Saved: saved,
		Peers: make([]subnet.Lease, 0, peers),
	}
	for i := range peers {
		k.Peers = append(k.Peers, lease(2+i))
	}
	return k
}

func encode(t testing.TB, k cache.Known) []byte {
	t.Helper()
	data, err := k.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func same(t *testing.T, want, got cache.Known) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeReadsWhatEncodeWrites(t *testing.T) {
	dual, reserved, old := known(3), known(1), known(0)
	dual.Own.V6 = subnet.Claim{Subnet: netip.MustParsePrefix("fd00::/64"), PublicIP: netip.MustParseAddr("2001:db8::1"), Data: `{"x":1}`}
	dual.Peers[1].V6.Subnet = netip.MustParsePrefix("fd00:0:0:1::/64")
	dual.Peers[2].Expires = time.Time{}
	reserved.Own.Expires, reserved.Sent, reserved.Until = time.Time{}, cache.Moment{}, cache.Moment{}
	old.Own = subnet.Lease{V4: subnet.Claim{Subnet: lease(1).V4.Subnet, PublicIP: lease(1).V4.PublicIP}, Expires: saved.Wall}
	old.Saved.Boot, old.Config.Raw = "", []byte("\xff\n\n\x00")
	for name, k := range map[string]cache.Known{"dual stack": dual, "reservation": reserved, "udp and no boot id": old, "many": known(300)} {
		t.Run(name, func(t *testing.T) {
			got, err := cache.Decode(encode(t, k))
			if err != nil {
				t.Fatal(err)
			}
			same(t, k, got)
		})
	}
}

func TestEncodeIsText(t *testing.T) {
	k := known(1)
	k.Peers[0].Expires = time.Time{}
	got := string(encode(t, k))
	_, body, _ := strings.Cut(got, "sha256 ")
	_, body, _ = strings.Cut(body, "\n")
	want := `{"Node":"n1","Prefix":"/coreos.com/network","API":"v3","Saved":{"Boot":"1d2e","Since":10800000000000,"Wall":"2026-10-01T12:00:00.000000005Z"},` +
		`"Sent":{"Boot":"1d2e","Since":9000000000000,"Wall":"2026-10-01T11:30:00.000000005Z"},"Until":{"Boot":"1d2e","Since":93600000000000,"Wall":"2026-10-02T11:00:00.000000005Z"},"ConfigRev":7,"ConfigBytes":73,"Leases":2}
` + configDoc + `
10.0.1.0-24 1001 2026-10-02T11:59:59.000000005Z {"PublicIP":"192.168.0.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"},"NodeID":"0123456789abcdef0123456789ab0001"}
10.0.2.0-24 1002 - {"PublicIP":"192.168.0.2","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:02"},"NodeID":"0123456789abcdef0123456789ab0002"}
`
	if diff := cmp.Diff(want, body); diff != "" || !strings.HasPrefix(got, "flanneld-cluster 1\nsha256 ") {
		t.Errorf("file is %q (-want +got):\n%s", got, diff)
	}
}

// Files of before there was a choice name no API.
func TestDecodeTakesAFileWithoutAnAPIForV2s(t *testing.T) {
	for api, want := range map[string]string{"": "v2", "v2": "v2", "v3": "v3", "v4": ""} {
		k := known(1)
		k.API = api
		got, err := cache.Decode(encode(t, k))
		if got.API != want || (err == nil) != (want != "") {
			t.Errorf("API %q is read as %q, %v", api, got.API, err)
		}
	}
}

func TestEncodeLeavesOutWhatCannotBeSpelled(t *testing.T) {
	k := known(3)
	k.Peers[1].V4.PublicIP = netip.Addr{}
	got, err := cache.Decode(encode(t, k))
	if err != nil {
		t.Fatal(err)
	}
	k.Peers = append(k.Peers[:1:1], k.Peers[2])
	same(t, k, got)
	k.Own.V4.PublicIP = netip.Addr{}
	if _, err := k.Encode(); err == nil {
		t.Error("a cache without a lease of the host's own")
	}
}

// Every bit and every length but the right one is refused.
func TestDecodeRefusesDamage(t *testing.T) {
	data := encode(t, known(2))
	for n := range len(data) {
		if _, err := cache.Decode(data[:n]); err == nil {
			t.Fatalf("%d of %d bytes are read", n, len(data))
		}
	}
	for bit := range len(data) * 8 {
		data[bit/8] ^= 1 << (bit % 8)
		if _, err := cache.Decode(data); err == nil {
			t.Fatalf("bit %d of byte %d turned: it is read", bit%8, bit/8)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
	for _, more := range []string{"\n", "x", "\x00\x00\x00\x00", string(data)} {
		if _, err := cache.Decode(append(data[:len(data):len(data)], more...)); err == nil {
			t.Errorf("with %q behind it is read", more)
		}
	}
	if _, err := cache.Decode(data); err != nil {
		t.Errorf("undamaged: %v", err)
	}
}

func TestDecodeSaysWhatIsWrong(t *testing.T) {
	good := string(encode(t, known(1)))
	for name, row := range map[string]struct{ data, want string }{
		"empty":       {"", "its end is missing"},
		"zeros":       {strings.Repeat("\x00", 4096), "its end is missing"},
		"another one": {"FLANNEL_NETWORK=10.0.0.0/8\nx\n", "its first line is none of a cache's"},
		"newer":       {strings.Replace(good, "cluster 1", "cluster 2", 1), "it is of version 2, and this daemon reads version 1"},
		"cut":         {good[:len(good)-1], "its checksum is wrong"},
		"no sum":      {"flanneld-cluster 1\n\n", "its checksum is wrong"},
		"too large":   {strings.Repeat("x", 64<<20+1), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := cache.Decode([]byte(row.data)); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error is %v; want %q", err, row.want)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	k := known(5000)
	b.SetBytes(int64(len(encode(b, k))))
	for b.Loop() {
		encode(b, k)
	}
}

func BenchmarkDecode(b *testing.B) {
	data := encode(b, known(5000))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := cache.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
