package host

import (
	"net/netip"
	"slices"
	"testing"
)

func TestNetworksDistrustTheSubnetFileOnly(t *testing.T) {
	p := netip.MustParsePrefix
	for _, tt := range []struct {
		name     string
		v4, v6   string
		previous SubnetEnv
		want     []netip.Prefix
	}{
		{"wide networks of the configuration", "8.0.0.0/6", "fc00::/7", SubnetEnv{}, []netip.Prefix{p("8.0.0.0/6"), p("fc00::/7")}},
		{"another network before", "10.1.0.0/16", "", SubnetEnv{Network: p("10.2.0.0/16")}, []netip.Prefix{p("10.1.0.0/16"), p("10.2.0.0/16")}},
		{"a damaged file", "10.1.0.0/16", "", SubnetEnv{Network: p("0.0.0.0/0"), NetworkV6: p("::/7")}, []netip.Prefix{p("10.1.0.0/16")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			present := []netip.Prefix{p(tt.v4), {}}
			if tt.v6 != "" {
				present[1] = p(tt.v6)
			}
			if got := tt.previous.Networks(present...); !slices.Equal(got, tt.want) {
				t.Errorf("networks = %v, want %v", got, tt.want)
			}
		})
	}
}
