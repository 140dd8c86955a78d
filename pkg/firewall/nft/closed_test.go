package nft

import (
	"strings"
	"testing"

	"flanneld/pkg/netlab/labtest"
)

func TestClosedNamesChainsThatDropWhatNobodyAccepts(t *testing.T) {
	labtest.Native(t)
	k, nft := lab(t)
	for _, tt := range []struct{ name, do, want string }{
		{"nothing", "list ruleset", ""},
		{"one that accepts", "add table inet open; add chain inet open f { type filter hook forward priority 0; policy accept; }", ""},
		{"another hook", "add table inet in; add chain inet in i { type filter hook input priority 0; policy drop; }", ""},
		{"iptables'", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }", ""},
		{"one that drops", "add table inet firewalld; add chain inet firewalld f { type filter hook forward priority 10; policy drop; }; add rule inet firewalld f iifname \"eth1\" accept",
			"inet firewalld f"},
		{"with another's name that begins so", "add rule inet firewalld f iifname \"flannel.11\" accept", "inet firewalld f"},
		{"with the name", "add chain inet firewalld g; add rule inet firewalld g iifname \"flannel.1\" accept", ""},
		{"in a set alone", "add table ip own; add chain ip own f { type filter hook forward priority 20; policy drop; }; add rule ip own f iifname { \"eth1\", \"docker0\" } accept", ""},
		{"in no set", "add table ip other; add chain ip other f { type filter hook forward priority 20; policy drop; }; add rule ip other f iifname { \"eth1\", \"eth2\" } accept", "ip other f"},
	} {
		nft(tt.do)
		got, err := Closed(k, Forward, []string{"flannel.1", "docker0"})
		if err != nil || strings.Join(got, ", ") != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}
