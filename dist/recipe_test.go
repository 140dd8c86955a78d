package dist_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/netlab/machine"
)

// TestRecipe pastes docs/recipe.md on four hosts, and does what it says in words.
func TestRecipe(t *testing.T) {
	f := bareFarm(t, machine.FreshHost(), "192.168.1.11/24", "192.168.1.12/24", "192.168.2.11/24", "192.168.2.12/24")
	docker1, docker2, docker3, docker4 := f.hosts[0], f.hosts[1], f.hosts[2], f.hosts[3]
	page := f.page("../docs/recipe.md")

	f.step("what Debian installs runs at once", func() {
		page.upTo("install -y docker.io")
		f.all("systemctl is-active docker && ip -br address show docker0 | grep -q ' 172.17.0.1/16'")
		page.upTo("systemctl restart etcd")
		docker2.sh("curl -sf http://192.168.1.11:2379/version")
		page.upTo("/tmp/flanneld_*.deb")
		f.all("! systemctl is-enabled flanneld && ! systemctl is-active flanneld")
		page.upTo("unprivileged.conf") // docker4 runs the daemon without root, throughout
	})

	f.step("units are well-formed", func() {
		docker1.sh("systemd-analyze verify --man=no flanneld.service docker.service flanneld-docker.path flanneld-docker.service")
		docker1.want("systemctl show -p After docker.service", "flanneld.service")
		docker1.want("systemctl show -p Wants -p Requires docker.service", "(?m)^Wants=.*flanneld.service")
		docker1.want("systemctl show -p Type -p Restart -p StartLimitIntervalUSec -p TimeoutStartUSec flanneld",
			"^Type=notify\nRestart=always\nTimeoutStartUSec=infinity\nStartLimitIntervalUSec=0$")
		docker2.want("stat -fc %T /sys/fs/cgroup", "^cgroup2fs$") // as on hosts of today
	})

	f.step("without a configuration all hosts wait, and no boot fails", func() {
		page.upTo("journalctl")
		f.each(func(h *host) error {
			return errors.Join(
				h.until(20*time.Second, "journalctl -u flanneld", "Couldn't fetch network config: flannel config not found in etcd store.*put /coreos.com/network/config"),
				h.until(20*time.Second, "journalctl -u flanneld", `Using interface with name eth0 and address 192\.168\.`),
				h.until(time.Second, "systemctl show -p ActiveState,StatusText flanneld", "(?s)waiting for the network configuration.*activating|activating.*waiting for"),
				h.until(20*time.Second, "systemctl show -p ActiveState docker", "inactive|activating"),
			)
		})
	})

	f.step("udp", func() {
		page.upTo("systemctl start docker")
		f.kept()
		page.upTo("docker inspect -f")
		page.typed["WEB1"] = page.printed[strings.LastIndex(page.printed, "\n")+1:]
		page.upTo("docker exec web2")
		docker3.sh(container("web3"))
		docker4.sh(container("web4"))
		f.addresses()
		f.reach(reachTime)
		page.upTo("kernel=")
		docker1.want("ip -o link show docker0", " mtu 1472 ")
		docker4.want("ps -o user= -C flanneld", "^flanneld$")
		// With and without root.
		f.all("! journalctl -q -u flanneld | grep 'no priority over'")
	})

	f.step("udp: a restart loses nothing", func() {
		s := f.ping(docker1, docker3)
		docker3.sh("systemctl restart flanneld")
		docker1.sh("systemctl restart flanneld")
		before := docker1.sh("systemctl show -p MainPID --value flanneld")
		docker1.sh("systemctl kill -s KILL flanneld")
		// Until systemd has seen that it is dead, the unit is active.
		if err := docker1.until(20*time.Second, "systemctl is-active flanneld && systemctl show -p MainPID --value flanneld | grep -vx "+before, "^active\n"); err != nil {
			t.Fatal(err)
		}
		s.lossless()
		docker1.want("journalctl -u flanneld", "queues of the last run are in use again")
		// With and without root, and after a kill that has left one behind.
		f.all("stat -c %A /run/flannel/flanneld.sock | grep -qx srw-rw----")
		f.all("! journalctl -q -u flanneld | grep 'Cannot open the status socket'")
	})

	f.step("vxlan", func() {
		page.upTo("show flannel.1")
		f.reach(reachTime)
		f.all(`! ip link show flannel0 2>/dev/null`)
		if err := docker1.until(20*time.Second, "systemctl show -p StatusText flanneld", "vxlan, 3 peers; a container on docker0 has an MTU above the overlay's 1450"); err != nil {
			t.Fatal(err)
		}
		page.upTo("systemctl restart docker")
		f.kept()
		f.addresses()
		f.reach(reachTime)
		if err := docker1.until(20*time.Second, "systemctl show -p StatusText flanneld", "vxlan, 3 peers$"); err != nil {
			t.Fatal(err)
		}
		f.all(`. /run/flannel/subnet.env && grep -qx 'DOCKER_NETWORK_OPTIONS=" --bip='$FLANNEL_SUBNET' --ip-masq=true --mtu=1450"' /run/flannel/docker`)
		docker1.want("ip -o link show docker0", " mtu 1450 ")
	})

	f.step("vxlan: neither a restart nor a kill by the watchdog loses anything", func() { hitless(f, docker1, docker3) })

	f.step("network managers leave the device alone", func() {
		unmanaged(docker2)
		networkManager(f, docker2, docker1)
	})

	f.step("what an older release left is taken over", func() { upgrade(f, docker3, docker1) })

	f.step("iptables, of both kinds, with and without root", func() { iptables(docker4) })

	f.step("another VNI", func() {
		page.upTo("systemctl restart flanneld")
		// A host whose etcd was too slow to say so goes on as before, and asks for a restart.
		f.all("ip link show flannel.2 || { journalctl --sync; journalctl -q -n 50 -u flanneld | grep 'etcd does not answer; starting from' && systemctl restart flanneld; }")
		f.all("ip link show flannel.2 && ! ip link show flannel.1 2>/dev/null")
		f.reach(reachTime)
	})

	f.step("a reload", func() {
		docker2.sh("rm /run/flannel/subnet.env && systemctl reload flanneld")
		// systemctl may return when the signal is sent, and before the daemon says that it reloads.
		if err := docker2.until(10*time.Second, "test -s /run/flannel/subnet.env && systemctl is-active flanneld", "^active$"); err != nil {
			t.Fatal(err)
		}
		docker2.sh("rm -r /run/flannel && systemctl restart flanneld && test -s /run/flannel/subnet.env")
	})

	f.step("etcd is wiped", func() {
		page.upTo("rm -rf /var/lib/etcd")
		f.all("journalctl --rotate -q && journalctl -q --vacuum-time=1s")
		page.upTo("grep 'no configuration'")
		f.kept()
		f.reach(reachTime)
	})

	f.step("host-gw, with all hosts on one subnet", func() {
		for h, address := range map[*host]string{docker3: "192.168.1.13/24", docker4: "192.168.1.14/24"} {
			if err := h.Host.Move(address); err != nil {
				t.Fatal(err)
			}
		}
		page.upTo("host-gw")
		f.each(func(h *host) error {
			// The connections to etcd were from the old address.
			return h.until(15*time.Second, "journalctl -u flanneld", "The network configuration in etcd has changed; restart to apply")
		})
		page.upTo("systemctl restart flanneld")
		f.reach(reachTime)
		f.kept()
		page.upTo("systemctl restart docker")
		page.end()
		f.kept()
		f.addresses()
		f.reach(reachTime)
		docker1.want("ip -o link show docker0", " mtu 1500 ")
	})

	f.step("host-gw: neither a restart nor a kill by the watchdog loses anything", func() { hitless(f, docker1, docker3) })

	f.step("docker is restarted for another subnet, and for nothing else", func() { follow(docker2) })

	f.step("docker is told twice", func() {
		toldTwice(docker4)
		f.addresses()
		f.reach(reachTime)
	})

	f.step("a network of Docker's own", func() {
		dockerNetwork(f, docker3, docker1)
		f.addresses()
	})

	f.step("docker restart", func() {
		docker2.sh("docker restart -t1 web2")
		docker3.sh("systemctl kill -s KILL docker")
		if err := docker3.until(time.Minute, "systemctl is-active docker", "^active$"); err != nil {
			t.Fatal(err)
		}
		f.kept()
		f.addresses()
		f.reach(reachTime)
	})

	back := func() {
		t.Helper()
		f.each(func(h *host) error {
			return h.until(time.Minute, "systemctl is-active flanneld docker", "^active\nactive$")
		})
		f.each(settled)
		f.kept()
		f.addresses()
		f.reach(reachTime)
	}
	powerOff := func(h *host) error { return h.PowerOff(t.Context()) }
	f.step("one host reboots, while another loses power", func() {
		f.cycle(func(h *host) error {
			if h == docker3 {
				return h.Kill()
			}
			return powerOff(h)
		}, docker2, docker3)
		back()
	})
	f.step("all hosts reboot", func() {
		f.cycle(powerOff, f.hosts...)
		back()
	})
	f.step("a host boots while etcd is down", func() {
		docker1.sh("systemctl stop etcd")
		f.cycle(powerOff, docker2)
		back()
		docker2.want("systemctl show --property=StatusText flanneld", "at risk")
		docker2.want("systemctl --failed --no-legend --plain", "^$")
		docker1.sh("systemctl start etcd")
		if err := docker2.until(time.Minute, "systemctl show --property=StatusText flanneld", "host-gw, 3 peers$"); err != nil {
			t.Fatal(err)
		}
		f.kept()
		f.reach(reachTime)
	})
}
