package dist_test

import (
	"os"
	"testing"
	"time"
)

// A host whose only etcd is the one that comes with this: the unit is what orders the
// store, the daemon and Docker at a boot.
func TestFlannelEtcdUnit(t *testing.T) {
	const program = "../bin/flannel-etcd"
	if _, err := os.Stat(program); err != nil {
		t.Skipf("%v (make etcd builds it)", err)
	}
	for _, row := range []struct{ api, write, read string }{
		{"v3", "etcdctl put", "etcdctl get"},
		{"v2", "ETCDCTL_API=2 etcdctl mk", "ETCDCTL_API=2 etcdctl get"},
	} {
		t.Run(row.api, func(t *testing.T) { flannelEtcd(t, program, row.api, row.write, row.read) })
	}
}

func flannelEtcd(t *testing.T, program, api, write, read string) {
	f := newFarm(t, "192.168.1.11/24")
	h := f.hosts[0]
	h.copy(program, "/usr/bin/flannel-etcd")
	h.copy("flannel-etcd.service", "/etc/systemd/system/flannel-etcd.service")
	h.write("/etc/default/flanneld", "FLANNELD_ETCD_ENDPOINTS=http://127.0.0.1:2379\n")
	h.sh("chmod 755 /usr/bin/flannel-etcd && systemctl daemon-reload && systemctl enable --now flannel-etcd")
	h.want("ss -Hltn sport = :2379", `^LISTEN +\d+ +\d+ +127\.0\.0\.1:2379`)
	h.sh(write + ` /coreos.com/network/config '{"Network":"10.100.0.0/16","Backend":{"Type":"vxlan"}}'`)
	h.sh("systemctl enable flanneld docker && systemctl start flanneld docker")
	h.want("journalctl -q -u flanneld", "Using etcd's "+api+" API")
	subnet := h.sh("grep ^FLANNEL_SUBNET= /run/flannel/subnet.env")

	if err := h.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.until(time.Minute, "systemctl is-active flannel-etcd flanneld docker", "^active\nactive\nactive$"); err != nil {
		t.Fatal(err)
	}
	if now := h.sh("grep ^FLANNEL_SUBNET= /run/flannel/subnet.env"); now != subnet {
		t.Errorf("after a reboot %s, want %s", now, subnet)
	}
	h.want("systemctl --failed --no-legend --plain", "^$")
	// In microseconds since the boot.
	h.sh(`at() { systemctl show --property=$2 --value $1; }
		test $(at flannel-etcd ActiveEnterTimestampMonotonic) -le $(at flanneld ExecMainStartTimestampMonotonic)
		test $(at flanneld ActiveEnterTimestampMonotonic) -le $(at docker ExecMainStartTimestampMonotonic)`)

	// Killed, it is back with what it had, and flanneld and Docker do not notice.
	h.sh(`pid=$(systemctl show --property=MainPID --value flanneld)
		systemctl kill --signal=KILL flannel-etcd
		test $pid = $(systemctl show --property=MainPID --value flanneld)`)
	if err := h.until(30*time.Second, read+" /coreos.com/network/config", "vxlan"); err != nil {
		t.Fatal(err)
	}
}
