package dist_test

import (
	"testing"
	"time"
)

// TestJournal has the log in a real journal: as it always was for who reads it, and with
// fields for who searches it.
func TestJournal(t *testing.T) {
	f := newFarm(t, "192.168.1.11/24", "192.168.1.12/24")
	one, two := f.hosts[0], f.hosts[1]
	one.sh(`systemctl enable --now etcd`)
	f.etcdctl(`put /coreos.com/network/config '{"Network":"10.100.0.0/16","Backend":{"Type":"vxlan"}}'`)
	one.sh("systemctl start flanneld")
	two.sh("systemctl start flanneld")
	subnet := two.sh("sed -n 's,^FLANNEL_SUBNET=\\(.*\\)1/24$,\\10/24,p' /run/flannel/subnet.env")

	// Found by the peer, by its subnet, and by what has happened; each is the line of before.
	const added = `flanneld\[\d+\]: I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ report\.go:\d+\] Subnet added: `
	for _, match := range []string{"FLANNEL_PEER=192.168.1.12", "FLANNEL_SUBNET=" + subnet, "MESSAGE_ID=377cbdd95b2f487b8afff04d4af63db9"} {
		if err := one.until(20*time.Second, "journalctl -q -u flanneld "+match, added+subnet+" via 192.168.1.12"); err != nil {
			t.Fatal(err)
		}
	}
	one.want("journalctl -q -u flanneld MESSAGE_ID=377cbdd95b2f487b8afff04d4af63db9 -o json", `"PRIORITY":"6"`)
	one.want("journalctl -q -u flanneld MESSAGE_ID=e3a3e5400a584bc2ac91309e33eced55 -o cat", `^I.*\] Lease is held subnet=10\.100\.\d+\.0/24`)
	one.want("journalctl -q -u flanneld", `flanneld\[\d+\]: I.*\] Installing signal handlers`)
	one.want("journalctl -q -u flanneld -o json | grep -c Installing.signal.handlers", "^1$") // and not by standard error, too
	one.want("journalctl -q -u flanneld -p err -o cat", "^$")

	// A fault has its priority; and a journal that restarts gets what comes after.
	one.sh("systemctl restart systemd-journald && systemctl stop etcd")
	if err := one.until(time.Minute, "journalctl -q -u flanneld -p err MESSAGE_ID=2cc4927391064addaa4ed614071a717e -o cat", `^E.*(etcd unreachable|Error renewing lease)`); err != nil {
		t.Fatal(err)
	}
	one.sh("systemctl start etcd")
	if err := one.until(time.Minute, "journalctl -q -u flanneld MESSAGE_ID=555c7a89972d48848771905196756ecb -o cat", `^I.*etcd is back`); err != nil {
		t.Fatal(err)
	}

	// As JSON, the message is the object, and the fields are the same.
	two.write("/etc/default/flanneld", "FLANNELD_ETCD_ENDPOINTS=http://192.168.1.11:2379\nFLANNELD_LOG_FORMAT=json\nFLANNELD_ETCD_USERNAME=root\nFLANNELD_ETCD_PASSWORD=PLANTED-SECRET\n")
	two.sh("mkdir -p /etc/systemd/system/flanneld.service.d && printf '[Service]\\nEnvironment=PROXY_PASS=PLANTED-TOO\\n' >/etc/systemd/system/flanneld.service.d/secret.conf && systemctl daemon-reload && systemctl restart flanneld")
	two.want("journalctl -q -u flanneld MESSAGE_ID=e3a3e5400a584bc2ac91309e33eced55 -n1 -o cat", `^\{"time":"20.*,"level":"INFO","source":\{.*\},"msg":"Lease is held","subnet":`)

	// What is packed for others has this journal, and no secret.
	two.sh("logger -t flanneld 'https://root:PLANTED-THREE@h1:2379 refused' && cd /tmp && flannelctl debug bundle --file=b.tar.gz && tar -xzf b.tar.gz")
	two.want("cat /tmp/flannel-debug/journal.txt", `Lease is held`)
	two.want("cat /tmp/flannel-debug/systemd/units.txt", `Environment=PROXY_PASS=\*\*\*`)
	two.sh("! grep -r PLANTED /tmp/flannel-debug")
}
