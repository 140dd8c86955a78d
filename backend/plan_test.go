package backend_test

import (
	"net/netip"
	"testing"

	"flanneld/backend"
)

func TestMetricIsTheKernelsDefault(t *testing.T) {
	for p, want := range map[string]uint32{"10.5.0.0/16": 0, "0.0.0.0/0": 0, "fd00:5::/48": 1024, "::/0": 1024} {
		if got := backend.Metric(netip.MustParsePrefix(p)); got != want {
			t.Errorf("Metric(%s) = %d, want %d", p, got, want)
		}
	}
}
