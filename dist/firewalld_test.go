package dist_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"flanneld/pkg/netlab/machine"
)

// TestFirewalld has a real firewalld on both hosts, opened as docs/firewall.md says,
// and looks at what its reloads and its restart do to packets that flow.
func TestFirewalld(t *testing.T) {
	if os.Getenv("FLANNELD_TEST_FIREWALLD") == "" {
		t.Skip("it takes minutes, and makes a root of its own with firewalld: run it with FLANNELD_TEST_FIREWALLD=1 go test -run TestFirewalld ./dist")
	}
	f := newFarmOf(t, machine.FirewalldHost(), "192.168.1.11/24", "192.168.1.12/24")
	one, two := f.hosts[0], f.hosts[1]
	one.sh("systemctl enable --now etcd")
	f.all("systemctl start firewalld && firewall-cmd -q --permanent --add-port=2379/tcp && firewall-cmd -q --reload")
	for _, h := range f.hosts {
		h.write("/etc/default/flanneld", "FLANNELD_ETCD_ENDPOINTS=http://192.168.1.11:2379\nFLANNEL_OPTIONS=--ip-masq\n")
	}
	f.etcdctl(`put /coreos.com/network/config '{"Network":"10.100.0.0/16","Backend":{"Type":"vxlan"}}'`)
	f.all("systemctl enable --quiet flanneld docker && systemctl --no-block start flanneld docker")
	f.each(func(h *host) error {
		return h.until(time.Minute, "systemctl is-active flanneld docker", "^active\nactive$")
	})
	f.containers()

	f.step("what is not opened is shut", func() {
		two.sh(fmt.Sprintf("! nsenter -t %s -n timeout 3 busybox wget -q -O- http://%s/", two.web, one.address))
		f.all("firewall-cmd -q --permanent --add-port=8472/udp && firewall-cmd -q --permanent --zone=trusted --add-interface=flannel.1 && " +
			"firewall-cmd -q --permanent --zone=trusted --add-source=10.100.0.0/16 && firewall-cmd -q --reload")
		f.reach(reachTime)
	})
	for _, backend := range []string{"nftables", "iptables"} {
		f.all("sed -i 's/^FirewallBackend=.*/FirewallBackend=" + backend + "/' /etc/firewalld/firewalld.conf && systemctl restart firewalld")
		for _, typ := range []string{"vxlan", "host-gw"} {
			f.etcdctl(`put /coreos.com/network/config '{"Network":"10.100.0.0/16","Backend":{"Type":"` + typ + `"}}'`)
			f.all("systemctl restart flanneld docker")
			f.addresses()
			f.reach(reachTime)
			for _, event := range []string{"firewall-cmd --reload", "firewall-cmd --complete-reload", "systemctl restart firewalld"} {
				f.step(fmt.Sprintf("%s, %s: %s", typ, backend, event), func() {
					s := f.ping(one, two)
					two.sh(event)
					if err := two.until(15*time.Second, "iptables -S FORWARD; nft list table inet flanneld", "FLANNEL-FWD(?s:.*)chain "); err != nil {
						t.Fatal(err)
					}
					sent, received := s.stop()
					f.Logf("       %d packets sent, %d received", sent, received)
					// While it reloads, firewalld lets in only what belongs to connections,
					// and a tunnel's datagrams never get an answer that makes them one.
					if typ == "host-gw" && backend == "nftables" && sent-received > 1 {
						t.Fatalf("%d packets of a connection were lost", sent-received)
					}
					f.reach(reachTime)
				})
			}
		}
	}
}
