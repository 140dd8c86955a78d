package doctor

import (
	"net/netip"
	"strings"
	"testing"
)

func TestInspectFindsWhatDropsTheOverlaysPackets(t *testing.T) {
	p := passage{network: netip.MustParsePrefix("10.100.0.0/16"), own: netip.MustParsePrefix("10.100.5.0/24"),
		links: []string{"eth0", "flannel.1", "docker0"}, forward: true, docker: true}
	const jump = "-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n"
	const mine = "-A DOCKER-USER -i flannel.1 -d 10.100.5.0/24 -m comment --comment \"flanneld docker\" -j ACCEPT\n"
	const drop = "-A PREROUTING -d 10.100.5.2/32 ! -i docker0 -j DROP\n"
	const accept = "-A PREROUTING -d 10.100.5.0/24 -i flannel.1 -m comment --comment \"flanneld docker\" -j ACCEPT\n"
	for _, tt := range []struct{ name, policy, forward, user, raw, want string }{
		{"nothing", "ACCEPT", "", "", "", ""},
		{"ours alone", "DROP", jump, "", "", ""},
		{"missing", "DROP", "", "", "", "the policy of FORWARD is DROP"},
		{"missing, and nobody minds", "ACCEPT", "-A FORWARD -j DOCKER-FORWARD\n", "", "", ""},
		{"all dropped before", "ACCEPT", "-A FORWARD -j DROP\n" + jump, "", "", "rule 1 of FORWARD"},
		{"all dropped behind", "ACCEPT", jump + "-A FORWARD -j DROP\n", "", "", ""},
		{"the network", "ACCEPT", "-A FORWARD -j X\n-A FORWARD -d 10.0.0.0/8 -j REJECT --reject-with icmp-port-unreachable\n" + jump, "", "", "rule 2 of FORWARD"},
		{"all but the network", "ACCEPT", "-A FORWARD ! -s 10.100.0.0/16 -j DROP\n" + jump, "", "", ""},
		{"all but a part", "ACCEPT", "-A FORWARD ! -s 10.100.5.0/24 -j DROP\n" + jump, "", "", "rule 1 of FORWARD"},
		{"another network", "ACCEPT", "-A FORWARD -s 192.0.2.0/24 -j DROP\n" + jump, "", "", ""},
		{"another interface", "ACCEPT", "-A FORWARD -i eth7 -j DROP\n" + jump, "", "", ""},
		{"all interfaces but one", "ACCEPT", "-A FORWARD ! -i docker0 -j DROP\n" + jump, "", "", "rule 1 of FORWARD"},
		{"a protocol", "ACCEPT", "-A FORWARD -p icmp -j DROP\n" + jump, "", "", "rule 1 of FORWARD"},
		{"a port", "ACCEPT", "-A FORWARD -p tcp -m tcp --dport 22 -j DROP\n" + jump, "", "", ""},
		{"a state", "ACCEPT", "-A FORWARD -m conntrack --ctstate INVALID -j DROP\n" + jump, "", "", ""},
		{"a mark", "ACCEPT", "-A FORWARD -m mark --mark 0x1/0x1 -j DROP\n" + jump, "", "", ""},
		{"Docker's user's", "DROP", "-A FORWARD -j DOCKER-USER\n" + jump, "-A DOCKER-USER -j DROP\n" + mine, "", "rule 1 of DOCKER-USER"},
		{"Docker's user's behind ours", "DROP", "-A FORWARD -j DOCKER-USER\n" + jump, mine + "-A DOCKER-USER -j DROP\n", "", ""},
		{"Docker's user's, which come later", "DROP", jump + "-A FORWARD -j DOCKER-USER\n", "-A DOCKER-USER -j DROP\n", "", ""},
		{"Docker 28", "DROP", jump, "", drop, "by rule 1 of raw PREROUTING"},
		{"Docker 28 behind ours", "DROP", jump, "", accept + drop, ""},
		{"Docker 28 about another network", "DROP", jump, "", "-A PREROUTING -d 172.18.0.2/32 ! -i br-1 -j DROP\n", ""},
	} {
		saved := "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD " + tt.policy + " [0:0]\n:FLANNEL-FWD - [0:0]\n:DOCKER-USER - [0:0]\n" + tt.forward + tt.user + "COMMIT\n" +
			"*raw\n:PREROUTING ACCEPT [0:0]\n" + tt.raw + "COMMIT\n"
		var saw []string
		for _, f := range p.inspect(saved, "iptables") {
			saw = append(saw, f.saw)
		}
		if got := strings.Join(saw, "; "); !strings.Contains(got, tt.want) || (tt.want == "") != (got == "") || len(saw) > 1 {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	p.docker, p.forward = false, false
	for _, saved := range []string{"*raw\n:PREROUTING ACCEPT [0:0]\n" + drop + "COMMIT\n", "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n"} {
		if found := p.inspect(saved, "iptables"); len(found) != 1 || !strings.Contains(found[0].mend, "start flanneld without --") {
			t.Errorf("without rules of ours: %q", found)
		}
	}
}
