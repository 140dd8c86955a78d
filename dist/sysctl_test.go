package dist_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
)

// strictly is what distributions and hardening guides have for strict reverse-path
// checks: for every device by a pattern, as Red Hat's package does, or for all at once.
var strictly = map[string]string{
	"50-redhat.conf":   "net.ipv4.conf.default.rp_filter = 1\nnet.ipv4.conf.*.rp_filter = 1\n-net.ipv4.conf.all.rp_filter\n",
	"99-hardened.conf": "net.ipv4.conf.all.rp_filter = 1\nnet.ipv4.conf.default.rp_filter = 1\n",
}

// TestSysctlLetsInWhatIsAnsweredByAnotherDevice has one host send by the tunnel what the
// other answers by a plain route, on hosts that are strict about that.
func TestSysctlLetsInWhatIsAnsweredByAnotherDevice(t *testing.T) {
	atDevice := sysctlAtDevice(t)
	lab := labtest.New(t)
	h1, h2 := tunnelHost(t, lab, "h1", "192.168.1.11", "10.100.1"), tunnelHost(t, lab, "h2", "192.168.1.12", "10.100.2")
	shell(t, h1, "ip route add 10.100.2.0/24 via 10.100.2.0 dev flannel.1 onlink && "+
		"ip neigh add 10.100.2.0 lladdr $0 dev flannel.1 && bridge fdb append $0 dst 192.168.1.12 dev flannel.1", "02:00:00:00:00:02")
	shell(t, h2, "ip route add 10.100.1.0/24 via 192.168.1.11")
	own, err := os.ReadFile("sysctl.conf")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(files["sysctl.conf"])

	for distribution, text := range strictly {
		for _, row := range []struct {
			name    string
			own     string // our file's name; empty: it is not there
			uplink  string // rp_filter of h1's uplink, by which the answer comes in
			dropped *netlab.Host
		}{
			{"without the file", "", "2", h2},
			{"with the file", name, "2", nil},
			// Somebody else's interface is for somebody else to decide about.
			{"with the file, the answer's interface being strict", name, "1", h1},
		} {
			t.Run(distribution+", "+row.name, func(t *testing.T) {
				dir := t.TempDir()
				write := func(name, text string) {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				write(distribution, text)
				if row.own != "" {
					write(row.own, string(own))
				}
				for _, h := range []*netlab.Host{h1, h2} {
					settle(t, h, dir, atDevice)
				}
				shell(t, h1, "echo $0 >/proc/sys/net/ipv4/conf/eth0/rp_filter", row.uplink)
				if distribution == "99-hardened.conf" && row.uplink == "2" {
					shell(t, h1, "grep -qx 1 /proc/sys/net/ipv4/conf/all/rp_filter") // and the larger one counts
				}
				before1, before2 := dropsOf(t, h1), dropsOf(t, h2)
				err := h1.Run("ping", "-c1", "-W1", "-I", "10.100.1.1", "10.100.2.1")
				if (err == nil) != (row.dropped == nil) {
					t.Errorf("ping says %v", err)
				}
				for h, before := range map[*netlab.Host]int{h1: before1, h2: before2} {
					if n := dropsOf(t, h) - before; (n > 0) != (h == row.dropped) {
						t.Errorf("%s dropped %d packets by the reverse path", h.Name(), n)
					}
				}
			})
		}
	}
}

// TestSysctlNeedsNoDevice has sysctl(8) read the file where none of its devices is, and
// where some are.
func TestSysctlNeedsNoDevice(t *testing.T) {
	lab := labtest.New(t)
	h, err := lab.Host("h1", "192.168.1.11/24")
	if err != nil {
		t.Fatal(err)
	}
	shell(t, h, "echo 0 >/proc/sys/net/ipv4/ip_forward && sysctl -p sysctl.conf && grep -qx 1 /proc/sys/net/ipv4/ip_forward")
	shell(t, h, `ip link add flannel.1 type veth peer name other
		ip link add flannel0 type veth peer name another
		for d in flannel.1 flannel0 other another; do echo 1 >/proc/sys/net/ipv4/conf/$d/rp_filter; done
		sysctl -p sysctl.conf
		for d in flannel.1 flannel0; do grep -qx 2 /proc/sys/net/ipv4/conf/$d/rp_filter; done
		for d in other another; do grep -qx 1 /proc/sys/net/ipv4/conf/$d/rp_filter; done`)
}

// sysctlAtDevice returns the command that udev runs for a new device "$name".
func sysctlAtDevice(t *testing.T) string {
	t.Helper()
	const rules = "/lib/udev/rules.d/99-systemd.rules"
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Skip("systemd is not installed")
	}
	m := regexp.MustCompile(`(?m)^ACTION=="add", SUBSYSTEM=="net".*RUN\+="(/\S*systemd-sysctl .*\$name[^"]*)"`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s has no sysctl for new devices", rules)
	}
	return string(m[1])
}

// tunnelHost makes a host with the device of the vxlan backend, and with the address
// of a container in its subnet.
func tunnelHost(t *testing.T, lab *netlab.Lab, name, address, subnet string) *netlab.Host {
	t.Helper()
	h, err := lab.Host(name, address+"/24")
	if err != nil {
		t.Fatal(err)
	}
	shell(t, h, `ip link add flannel.1 address 02:00:00:00:00:0$2 type vxlan id 1 local $0 dev eth0 dstport 8472 nolearning
		ip link set flannel.1 up
		ip addr add $1.0/32 dev flannel.1
		ip addr add $1.1/24 dev lo`, address, subnet, name[1:])
	return h
}

// shell runs a script on the host, with arguments from $0 on, which must succeed.
func shell(t *testing.T, h *netlab.Host, script string, arg ...string) {
	t.Helper()
	if err := h.Run("sh", append([]string{"-euc", script}, arg...)...); err != nil {
		t.Fatal(err)
	}
}

// settle makes all checks loose, as the kernel has them, and then does what is done at
// boot and for each new device, with the files of this directory and of no other.
func settle(t *testing.T, h *netlab.Host, dir, atDevice string) {
	t.Helper()
	shell(t, h, `exec unshare --mount sh -euc "$2" "$0" "$1"`, dir, atDevice, `
		for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done
		mount --bind "$0" /usr/lib/sysctl.d
		for other in /etc/sysctl.d /run/sysctl.d /usr/local/lib/sysctl.d; do
			[ ! -d $other ] || mount -t tmpfs sysctl $other
		done
		${1%% *}
		for name in eth0 flannel.1; do eval "$1"; done`)
}

// dropsOf returns how many packets the host has dropped since their source is elsewhere.
func dropsOf(t *testing.T, h *netlab.Host) int {
	t.Helper()
	out, err := h.Output("cat", "/proc/net/netstat")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if fields[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == "IPReversePathFilter" {
				n, err := strconv.Atoi(fields[i])
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	t.Fatalf("no IPReversePathFilter in %s", out)
	return 0
}
