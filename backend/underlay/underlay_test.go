package underlay

import "testing"

func TestIsOverlay(t *testing.T) {
	for _, tt := range []struct {
		name, alias string
		want        bool
	}{
		{"flannel.1", "", true}, {"flannel-v6.16777215", "", true}, {"flannel0", "", true},
		{"overlay0", "flanneld /coreos.com/network", true},
		{"eth0", "", false}, {"eth0", "flanneld", false}, {"flannels", "", false}, {"flannel0a", "", false}, {"flannel", "", false}, {"xflannel.1", "", false},
	} {
		if got := isOverlay(tt.name, tt.alias); got != tt.want {
			t.Errorf("isOverlay(%q, %q) = %t", tt.name, tt.alias, got)
		}
	}
}
