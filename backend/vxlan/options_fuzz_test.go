package vxlan

import (
	"errors"
	"testing"

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
