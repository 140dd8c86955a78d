package dist_test

import (
	"regexp"
	"testing"

	"flanneld/pkg/netlab/machine"
)

// TestQuickStart pastes the README's on three hosts that have Docker.
func TestQuickStart(t *testing.T) {
	f := bareFarm(t, machine.FreshHost(), "10.0.0.11/24", "10.0.0.12/24", "10.0.0.13/24")
	f.step("Docker is there", func() { f.all("apt-get install -qq docker.io busybox-static >/dev/null && systemctl is-active docker") })
	page := f.page("../README.md")
	f.step("the README's blocks", func() {
		page.upTo("flannelctl status")
		f.kept()
		page.upTo("flannelctl doctor")
		page.end()
	})
	f.step("containers see each other's addresses", func() {
		f.containers()
		f.reach(reachTime)
		from, to := f.hosts[1], f.hosts[0]
		to.sh("docker run -d --init --name seen web:1 httpd -f -vv -p 80 -h /www")
		seen := to.sh("docker inspect -f '{{.NetworkSettings.IPAddress}}' seen")
		from.sh(from.fetch(seen))
		to.want("docker logs seen 2>&1", regexp.QuoteMeta(from.address)+"\\D")
	})
	f.step("packets go on while the daemon is stopped", func() {
		s := f.ping(f.hosts[0], f.hosts[2])
		f.all("systemctl stop flanneld")
		s.lossless()
	})
	f.step("udp, whose packets the kernel carries, too", func() {
		f.etcdctl(`put /coreos.com/network/config '{"Network":"10.100.0.0/16"}'`)
		f.all("systemctl restart flanneld")
		f.reach(reachTime)
		f.each(func(h *host) error {
			return h.until(reachTime, "journalctl -q -u flanneld | grep -c 'Packets to a peer go through the kernel'", "^[2-9]")
		})
		s := f.ping(f.hosts[0], f.hosts[2])
		f.all("systemctl stop flanneld")
		s.lossless()
	})
	f.step("docs/etcd.md", func() { pasteEtcd(f) })
}

// pasteEtcd pastes docs/etcd.md: what is for v3 on the first host, whose etcd has the network's
// leases, and what is for v2 on the second one, which gets an etcd of its own.
func pasteEtcd(f *farm) {
	f.Helper()
	v3, v2 := f.hosts[0], f.hosts[1]
	v2.sh("apt-get install -qq etcd-server etcd-client >/dev/null && echo ETCD_ENABLE_V2=true >>/etc/default/etcd && systemctl restart etcd")
	page := f.page("../docs/etcd.md")
	page.typed["HOSTS"], page.typed["ROOT"] = "one", "two"
	page.upTo("etcdctl rm ")
	v3.want("etcdctl get --prefix --keys-only /coreos.com/network/subnets/ | grep -c /subnets/", "^3$")
	page.upTo("role revoke guest")
	page.end()
	v2.sh("! ETCDCTL_API=2 etcdctl get /coreos.com/network/config && ETCDCTL_API=2 etcdctl -u host:one get /coreos.com/network/config")
	// A daemon that is told the user reads the configuration of the page, and has its lease.
	h := f.hosts[2]
	h.sh("printf 'FLANNELD_ETCD_USERNAME=host\\nFLANNELD_ETCD_PASSWORD=one\\n' >>/etc/default/flanneld && systemctl start flanneld && ip link show flannel.1")
	v3.sh("! etcdctl get /coreos.com/network/config")
	f.kept()
}
