package cache

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
)

// FuzzDecode reads any file, and any body with the right checksum, which a fuzzer would
// never find. What can
// be read is written and read again the same.
func FuzzDecode(f *testing.F) {
	l := subnet.Lease{V4: subnet.Claim{Subnet: netip.MustParsePrefix("10.1.2.0/24"), PublicIP: netip.MustParseAddr("192.0.2.1"),
		Data: `{"a":1}`}, Type: "vxlan", Node: "n", Expires: time.Unix(1, 2), Rev: 3}
	k := Known{Host: Host{"n", "/p"}, Config: config.Document{Raw: []byte(`{"Network":"10.1.0.0/16"}`), Rev: 1}, Own: l, Peers: []subnet.Lease{l}}
	file, err := k.Encode()
	if err != nil {
		f.Fatal(err)
	}
	body := bytes.SplitAfterN(file, []byte("\n"), 3)[2]
	f.Add(file)
	f.Add(body)
	f.Add([]byte("{\"Leases\":1}\n\n10.1.2.0-24 1 - {\"PublicIP\":\"1.2.3.4\"}\n"))
	f.Add([]byte("{\"ConfigBytes\":-1,\"Leases\":-1}\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, file := range [][]byte{data, seal(data)} {
			k, err := Decode(file)
			if err != nil {
				continue
			}
			again, err := k.Encode()
			if err != nil {
				continue // a value that is read and not written, such as one that is too long when escaped
			}
			m, err := Decode(again)
			if err != nil {
				t.Fatalf("what was written cannot be read: %v\n%s", err, again)
			}
			if twice, err := m.Encode(); err != nil || !bytes.Equal(again, twice) {
				t.Errorf("written again (%v):\n%s\nbefore:\n%s", err, twice, again)
			}
			_ = k.check(k.Host, k.Saved)
		}
	})
}
