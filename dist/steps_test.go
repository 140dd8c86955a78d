package dist_test

import (
	"strings"
	"time"
)

// hitless restarts the daemon and has the watchdog kill it, on both ends of a
// stream of packets.
func hitless(f *farm, from, to *host) {
	f.Helper()
	s := f.ping(from, to)
	for _, h := range []*host{from, to} {
		h.sh("systemctl restart flanneld")
	}
	pid := func() string {
		f.Helper()
		return to.sh("systemctl is-active --quiet flanneld && systemctl show -p MainPID --value flanneld")
	}
	before := pid()
	to.sh("dpkg -i /root/flanneld.deb") // an upgrade
	if pid() == before {
		f.Fatal("an upgrade of the package has not restarted the daemon")
	}
	to.sh(`mkdir -p /run/systemd/system/flanneld.service.d &&
		printf '[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\n' >/run/systemd/system/flanneld.service.d/soon.conf &&
		systemctl daemon-reload && systemctl restart flanneld`)
	before = pid()
	time.Sleep(3 * time.Second)
	if pid() != before {
		f.Fatal("the watchdog killed a daemon that is well")
	}
	to.sh("kill -STOP " + before)
	if err := to.until(20*time.Second, "journalctl -u flanneld", "(?i)watchdog timeout"); err != nil {
		f.Fatal(err)
	}
	if err := to.until(20*time.Second, "systemctl is-active flanneld && systemctl show -p MainPID --value flanneld | grep -vx "+before, "^active\n"); err != nil {
		f.Fatal(err)
	}
	s.lossless()
	to.sh("rm /run/systemd/system/flanneld.service.d/soon.conf && systemctl daemon-reload && systemctl restart flanneld")
}

// unmanaged starts systemd-networkd with a file that would give it the device, and
// asks udev which file decides about the device's MAC address.
func unmanaged(h *host) {
	h.t.Helper()
	h.write("/etc/systemd/network/99-all.network", "[Match]\nName=f*\n\n[Network]\nLinkLocalAddressing=no\n")
	// It waits for udevd, which does not run here, as long as /sys can be written.
	h.write("/run/systemd/system/systemd-networkd.service.d/lab.conf", "[Service]\nReadOnlyPaths=/sys\n")
	h.sh("systemctl daemon-reload && systemctl start systemd-networkd")
	if err := h.until(10*time.Second, "networkctl --no-legend --no-pager list", `flannel\.1 .* unmanaged`); err != nil {
		h.t.Fatal(err)
	}
	h.sh("systemctl stop systemd-networkd.socket systemd-networkd && rm -r /etc/systemd/network/99-all.network /run/systemd/system/systemd-networkd.service.d && systemctl daemon-reload")
	// A /sys of this network namespace.
	h.want("unshare --mount sh -c 'mount -t sysfs sysfs /sys && udevadm test-builtin net_setup_link /sys/class/net/flannel.1' 2>&1",
		"ID_NET_LINK_FILE=/usr/lib/systemd/network/50-flannel.link")
}

// upgrade makes the host's state that of older daemons, all at once, and starts ours
// while packets flow.
func upgrade(f *farm, h, from *host) {
	f.Helper()
	h.sh(`systemctl stop flanneld
		ip link set dev flannel.1 alias ""
		ip route show proto 102 | while read -r to rest; do ip route replace $(echo $to $rest | sed 's/proto 102//'); done
		ip addr add "$(ip -o -4 addr show flannel.1 | sed 's/.*inet \([0-9.]*\).*/\1/')/16" dev flannel.1 noprefixroute
		iptables -t nat -N FLANNEL && iptables -t nat -A FLANNEL -d 10.100.0.0/16 -j ACCEPT
		mv /etc/default/flanneld /root/
		mkdir -p /etc/sysconfig
		printf 'FLANNEL_ETCD_ENDPOINTS="http://192.168.1.11:2379"\nFLANNEL_ETCD_PREFIX="/coreos.com/network"\nFLANNEL_OPTIONS="-iface=eth0 --logtostderr=true"\nDAEMON_ARGS="-v=1"\n' >/etc/sysconfig/flanneld`)
	h.want("ip -o link show flannel.1; ip route", "(?s)^[^\n]*flannel.1.*via .* dev flannel.1 onlink")
	index := h.sh("ip -o link show flannel.1 | cut -d: -f1")
	s := f.ping(from, h)
	h.sh("systemctl start flanneld")
	s.lossless()
	if now := h.sh("ip -o link show flannel.1 | cut -d: -f1"); now != index {
		f.Fatalf("the device was made anew: its index was %s, and is %s", index, now)
	}
	f.kept()
	h.want("journalctl -q -u flanneld | grep etcdEndpoints: | tail -n 1", `etcdEndpoints:http://192\.168\.1\.11:2379.*iface:\[eth0\].*verbosity:1`)
	if err := h.until(5*time.Second, "ip -o -4 addr show flannel.1; ip route show proto 102", `(?s)^[^\n]*/32 [^\n]*\n10\.100\.`); err != nil {
		f.Fatal(err)
	}
	h.sh(`if iptables -t nat -S FLANNEL 2>/dev/null; then echo the chain of an older release is still there; exit 1; fi
		rm /etc/sysconfig/flanneld && mv /root/flanneld /etc/default/ && systemctl restart flanneld`)
}

// iptables runs both kinds of it with what the unit leaves of root, and with what its
// example for doing without root does.
func iptables(h *host) {
	h.t.Helper()
	h.sh(`cd /usr/lib/systemd/system
		sed -e 's/^Type=.*/Type=oneshot/' -e '/^Restart/d; /^Watchdog/d; /^RuntimeDirectory/d; /^StateDirectory/d; /^FileDescriptor/d; /^NotifyAccess/d; /^ExecReload/d' \
			-e 's|^ExecStart=.*|ExecStart=/usr/sbin/iptables-%i -t nat -N lab-%p|' flanneld.service >/run/systemd/system/root@.service
		cat /run/systemd/system/root@.service /usr/share/doc/flanneld/unprivileged.conf.example >/run/systemd/system/user@.service
		systemctl daemon-reload`)
	for _, row := range []struct {
		unit string
		runs bool
	}{{"root@legacy", true}, {"root@nft", true}, {"user@nft", true}, {"user@legacy", false}} {
		out, err := h.try("systemctl start " + row.unit + " || { journalctl -q -n 5 -u " + row.unit + "; exit 1; }")
		if (err == nil) != row.runs {
			h.t.Errorf("iptables as %s: %v\n%s", row.unit, err, out)
		}
	}
	if h.t.Failed() {
		h.t.FailNow()
	}
	h.sh(`systemctl reset-failed && rm /run/systemd/system/root@.service /run/systemd/system/user@.service && systemctl daemon-reload
		iptables-legacy -t nat -X lab-root; iptables-nft -t nat -X lab-root; iptables-nft -t nat -X lab-user`)
}

// follow has the optional units restart Docker.
func follow(h *host) {
	h.t.Helper()
	pid := func() string { return h.sh("systemctl show -p MainPID --value docker") }
	h.sh("systemctl start flanneld-docker.path")
	before := pid()
	h.sh("cp /run/flannel/subnet.env /run/flannel/new && mv /run/flannel/new /run/flannel/subnet.env")
	if err := h.until(20*time.Second, "journalctl -q -u flanneld-docker", "Docker runs with this host's subnet"); err != nil {
		h.t.Fatal(err)
	}
	if now := pid(); now != before {
		h.t.Fatal("Docker was restarted without a reason")
	}
	h.sh("sed 's/^FLANNEL_MTU=.*/FLANNEL_MTU=1400/' /run/flannel/subnet.env >/run/flannel/new && mv /run/flannel/new /run/flannel/subnet.env")
	if err := h.until(time.Minute, "systemctl is-active docker && ip -o link show docker0", `(?s)^active.* mtu 1400 `); err != nil {
		h.t.Fatal(err)
	}
	h.sh("systemctl reload flanneld")
	if err := h.until(time.Minute, "systemctl is-active docker && ip -o link show docker0", `(?s)^active.* mtu 1500 `); err != nil {
		h.t.Fatal(err)
	}
	h.sh("systemctl stop flanneld-docker.path")
}

// toldTwice has Docker's own file say what the options say, too: Docker does not start,
// and both programs of ours say why.
func toldTwice(h *host) {
	h.t.Helper()
	const file = "/etc/docker/daemon.json"
	h.write(file, `{"bip": "172.17.0.1/16", "mtu": 1400}`)
	h.sh("! systemctl restart docker && ip link delete docker0")
	h.want("journalctl -q -u docker", "warning: "+file+" sets bip, ")
	if err := h.until(20*time.Second, "systemctl show -p StatusText flanneld", "; there is no docker0, and "+file+" sets bip, mtu, which Docker refuses"); err != nil {
		h.t.Fatal(err)
	}
	// As the log says.
	h.sh("rm " + file + " && systemctl reset-failed docker && systemctl restart docker")
	if err := h.until(20*time.Second, "systemctl show -p StatusText flanneld", " peers$"); err != nil {
		h.t.Fatal(err)
	}
}

// dockerNetwork makes a network of the host's subnet, as docs/docker.md says, and fetches from
// a container in it.
func dockerNetwork(f *farm, h, from *host) {
	f.Helper()
	const own = "/etc/systemd/system/docker.service.d/flanneld.conf"
	h.write(own, "[Unit]\nWants=flanneld.service\nAfter=flanneld.service\n")
	h.write("/etc/docker/daemon.json", `{"bip": "172.17.0.1/16"}`)
	h.sh("systemctl daemon-reload && systemctl restart docker")
	h.want("ip -br addr show docker0", ` 172\.17\.`)
	if err := h.until(20*time.Second, "systemctl show -p StatusText flanneld", "; docker0 has 172.17.0.1/16, which is not this host's subnet"); err != nil {
		f.Fatal(err)
	}
	h.sh("$(/usr/libexec/flannel/docker-network.sh web) && docker run -d --init --network web --name other web:1")
	address := h.sh("docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' other")
	if !strings.HasPrefix(address, h.subnet[:strings.LastIndex(h.subnet, ".")+1]) {
		f.Fatalf("the container has %s, out of %s", address, h.subnet)
	}
	h.want("ip -o link show br-flannel", " mtu 1500 ")
	if err := from.until(reachTime, from.fetch(address), "^hello from "+h.Name()+"$"); err != nil {
		f.Fatal(err)
	}
	h.sh("docker rm -f other && docker network rm web && rm /etc/docker/daemon.json " + own + " && systemctl daemon-reload && systemctl restart docker")
}
