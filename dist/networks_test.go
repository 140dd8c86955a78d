package dist_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestSeveralNetworks is the section of docs/systemd.md on two hosts: its commands, its drop-in.
func TestSeveralNetworks(t *testing.T) {
	text, err := os.ReadFile("../docs/systemd.md")
	if err != nil {
		t.Fatal(err)
	}
	dropIn := regexp.MustCompile("(?s)```ini\n# (/etc/\\S+)\n(.*?)```").FindStringSubmatch(string(text))
	settings := regexp.MustCompile(`(?s)\n# (echo 'FLANNELD_ETCD_ENDPOINTS.*?\n)# flannelctl`).FindStringSubmatch(string(text))
	puts := regexp.MustCompile(`(?m)^# etcdctl (put /coreos.com/network/(?:web|db)/config .*)$`).FindAllStringSubmatch(string(text), -1)
	network := regexp.MustCompile(`(?m)^# (\$\(/usr/libexec/flannel/docker-network.sh .* db\))$`).FindStringSubmatch(string(text))
	if dropIn == nil || settings == nil || len(puts) != 2 || network == nil {
		t.Fatal("docs/systemd.md does not say how")
	}
	f := newFarm(t, "192.168.1.11/24", "192.168.1.12/24")
	one, two := f.hosts[0], f.hosts[1]
	one.sh("systemctl enable --now etcd")
	for _, put := range puts {
		f.etcdctl(put[1])
	}
	f.step("two daemons and Docker", func() {
		for _, h := range f.hosts {
			h.write(dropIn[1], dropIn[2])
		}
		f.all(strings.ReplaceAll(settings[1], "\n# ", "\n") + `
			systemd-analyze verify --man=no flanneld@web.service flanneld@db.service docker.service
			systemctl daemon-reload && systemctl enable --quiet --now docker`)
		f.each(func(h *host) error {
			return h.until(time.Minute, "systemctl is-active flanneld@web flanneld@db docker", "^active\nactive\nactive$")
		})
	})
	f.step("containers of both reach those on the other host", func() {
		f.containers()
		f.reach(reachTime)
		one.want("ip -br addr show docker0", ` 10\.100\.`)
		f.all(network[1] + ` && docker run -d --stop-timeout 1 --network db --name db web:1 httpd -f -p 80 -h /www`)
		address := two.sh("docker inspect -f '{{.NetworkSettings.Networks.db.IPAddress}}' db")
		if !strings.HasPrefix(address, "10.101.") {
			t.Fatalf("the container has %s", address)
		}
		if err := one.until(reachTime, "docker exec db wget -q -O- http://"+address+"/", "^hello from docker2$"); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"web", "db"} {
			one.want("flannelctl status --subnet-file=/run/flannel/"+name+"/subnet.env", "vxlan, 1 peer(?s:.*)etcd prefix /coreos.com/network/"+name+"\n")
		}
		f.all("test -s /var/lib/flannel/web/cluster && test -s /var/lib/flannel/db/cluster && ! systemctl is-active flanneld")
	})
	f.step("an upgrade restarts both, and a removal ends both", func() {
		const pids = "systemctl show --value -p MainPID flanneld@web flanneld@db"
		before := strings.Fields(two.sh(pids))
		two.sh("dpkg -i /root/flanneld.deb")
		after := strings.Fields(two.sh(pids))
		for i := range before {
			if before[i] == after[i] || after[i] == "0" {
				t.Errorf("processes before %v, after %v", before, after)
			}
		}
		f.reach(reachTime)
		two.sh("dpkg -r flanneld && ! systemctl is-active flanneld@web && ! systemctl is-active flanneld@db && ! ls /etc/systemd/system/multi-user.target.wants/flanneld@*")
		if rules := two.sh("nft list tables | grep inet.flanneld || :"); rules != "" {
			t.Errorf("rules stay: %s", rules)
		}
	})
}
