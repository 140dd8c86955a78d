package vxlan

import (
	"errors"
	"strings"
	"testing"

	"flanneld/pkg/datapath"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

func FuzzParseOptions(f *testing.F) {
	for _, s := range []string{`{"Type":"vxlan"}`, `{"VNI":16777216}`, `{"MTU":67,"Port":8472,"GBP":true}`, `{"vni":1,"VNI":2}`, `[]`, `{`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, _, err := ParseOptions(raw, false)
		var told *config.Error
		switch {
		case err != nil && !errors.As(err, &told):
			t.Errorf("error without a position: %v", err)
		case err == nil && (o.VNI > maxVNI || o.MTU != 0 && (o.MTU < minMTU || o.MTU > maxMTU)):
			t.Errorf("accepted %+v", o)
		}
	})
}

// FuzzVTEP takes any BackendData. What is read as a MAC can be an interface's; what is not
// is said in one short line.
func FuzzVTEP(f *testing.F) {
	for _, s := range []string{
		`{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}`, `{"vtepmac":"0200.0000.0001"}`, `{"VtepMAC":"02-00-00-00-00-01","x":[]}`, ``, `null`, `[]`, `"x"`,
		`{"VtepMAC":1e999999}`, `{"VtepMAC":"ff:ff:ff:ff:ff:ff"}`, `{"VtepMAC":"00:00:00:00:00:00"}`, `{"VtepMAC":"02:00:00:00:00:00:00:01"}`,
		`{"VtepMAC":"` + strings.Repeat("02:", 20_000) + `"}`, `{"VtepMAC":` + strings.Repeat("9", 60_000) + `}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		mac, err := vtep(subnet.Claim{Data: data})
		if err != nil {
			if text := err.Error(); len(text) > 300 || strings.ContainsAny(text, "\n\r") {
				t.Errorf("error of %d bytes: %.400q", len(text), text)
			}
			return
		}
		if again, err := datapath.ParseMAC(mac.String()); err != nil || again != mac || !mac.Unicast() {
			t.Errorf("%q is read as %s", data, mac)
		}
	})
}
