package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	vxlanConfig  = `{"Network":"10.100.0.0/16","Backend":{"Type":"vxlan"}}`
	hostgwConfig = `{"Network":"10.100.0.0/16","Backend":{"Type":"host-gw"}}`
)

// threeHosts returns hosts with containers that all reach each other.
func threeHosts(t *testing.T, config string, addrs ...string) (*cluster, []*node) {
	c := newCluster(t)
	c.configure(config)
	var nodes []*node
	for i, a := range addrs {
		n := c.node(fmt.Sprintf("h%d", i+1), a)
		n.up()
		n.run()
		nodes = append(nodes, n)
	}
	allReach(t, nodes)
	return c, nodes
}

func allReach(t *testing.T, nodes []*node) {
	t.Helper()
	for _, a := range nodes {
		for _, b := range nodes {
			if a != b {
				eventually(t, converge, func() error { return a.reaches(b) })
			}
		}
	}
}

var routed = []string{"192.168.1.11/24", "192.168.1.12/24", "192.168.2.11/24"}
var flat = []string{"192.168.1.11/24", "192.168.1.12/24", "192.168.1.13/24"}

func TestVXLANJoinsContainersOfHosts(t *testing.T) {
	c, nodes := threeHosts(t, vxlanConfig, routed...)
	if mtu := nodes[0].env("FLANNEL_MTU"); mtu != "1450" {
		t.Errorf("FLANNEL_MTU is %s, want 1450", mtu)
	}
	want := regexp.MustCompile(`^\{"PublicIP":"192\.168\.\d\.1\d","PublicIPv6":null,"BackendType":"vxlan","BackendData":\{"VNI":1,"VtepMAC":"[0-9a-f:]{17}"\}\}$`)
	leases := c.leases()
	if len(leases) != 3 {
		t.Errorf("%d leases: %v", len(leases), leases)
	}
	for k, v := range leases {
		if !want.MatchString(v) {
			t.Errorf("lease %s is %s", k, v)
		}
	}
	disturb(t, nodes, "flannel.1", "flannel.1")
}

func TestHostGWJoinsContainersOfHosts(t *testing.T) {
	c, nodes := threeHosts(t, hostgwConfig, flat...)
	for k, v := range c.leases() {
		if !strings.HasSuffix(v, `"PublicIPv6":null,"BackendType":"host-gw"}`) {
			t.Errorf("lease %s is %s", k, v)
		}
	}
	disturb(t, nodes, "", "eth0")
}

// disturb does to the first host what happens to hosts, and wants each mended
// at once.
func disturb(t *testing.T, nodes []*node, device, via string) {
	n, peer := nodes[0], nodes[1]
	subnet := strings.Replace(peer.env("FLANNEL_SUBNET"), ".1/", ".0/", 1)
	out, err := n.Output("ip", "route", "show", subnet)
	if err != nil || !strings.Contains(out, "proto 102") {
		t.Fatalf("no route of ours to %s: %s, %v", subnet, out, err)
	}
	route := regexp.MustCompile(`dev (\S+)`).FindStringSubmatch(out)[1]
	type disturbance struct {
		name string
		do   func()
	}
	all := []disturbance{
		{"route removed", func() { n.ip("route", "del", subnet) }},
		{"route replaced by another's", func() { n.ip("route", "replace", subnet, "dev", "lo", "proto", "static") }},
		{"interface flapped", func() {
			n.ip("link", "set", route, "down")
			n.ip("link", "set", route, "up")
			if device == "" { // what takes the underlay down takes the default route with it
				n.ip("route", "replace", "default", "via", n.Gateway().String())
			}
		}},
	}
	if device != "" {
		all = append(all,
			disturbance{"device deleted", func() { n.ip("link", "del", device) }},
			disturbance{"address removed", func() { n.ip("addr", "flush", "dev", device) }},
			disturbance{"MAC changed", func() { n.ip("link", "set", device, "address", "02:00:00:00:00:99") }},
			disturbance{"neighbours flushed", func() { n.ip("neigh", "flush", "dev", device, "nud", "permanent") }},
			disturbance{"forwarding entries removed", func() {
				fdb, err := n.Output("bridge", "fdb", "show", "dev", device)
				if err != nil {
					t.Fatal(err)
				}
				for line := range strings.Lines(fdb) {
					f := strings.Fields(line)
					if err := n.Run("bridge", "fdb", "del", f[0], "dev", device, "dst", f[2]); err != nil {
						t.Fatal(err)
					}
				}
			}},
		)
	}
	for _, d := range all {
		t.Run(d.name, func(t *testing.T) {
			d.do()
			eventually(t, converge, func() error {
				out, err := n.Output("ip", "route", "show", subnet)
				if err == nil && !strings.Contains(out, "proto 102") {
					err = fmt.Errorf("route to %s is %q", subnet, out)
				}
				return err
			})
			allReach(t, nodes)
		})
	}
	if device == "" {
		return
	}
	t.Run("added by hand, and removed", func(t *testing.T) {
		n.ip("route", "add", "10.100.250.0/24", "dev", device)
		n.ip("neigh", "add", "10.100.250.0", "lladdr", "02:00:00:00:00:98", "dev", device, "nud", "permanent")
		n.ip("addr", "add", "10.100.0.1/16", "dev", device)
		eventually(t, converge, func() error {
			var left []string
			for _, show := range []string{"route", "neigh", "addr"} {
				out, _ := n.Output("ip", show, "show", "dev", device)
				for _, made := range []string{"10.100.250.0", "10.100.0.1/16"} {
					if strings.Contains(out, made) {
						left = append(left, show+" "+made)
					}
				}
			}
			if left != nil {
				return fmt.Errorf("still there: %v", left)
			}
			return nil
		})
		allReach(t, nodes)
	})
}

func TestKillAndRestartLoseNoPacket(t *testing.T) {
	for _, tt := range []struct{ name, config string }{{"vxlan", vxlanConfig}, {"host-gw", hostgwConfig}} {
		t.Run(tt.name, func(t *testing.T) {
			_, nodes := threeHosts(t, tt.config, flat[:2]...)
			a, b := nodes[0], nodes[1]
			subnet := a.env("FLANNEL_SUBNET")
			ping := a.c.start(a.container.Namespace, nil, "ping", "-i0.01", "-c300", "-q", b.container.Addr().Addr().String())
			for range 2 {
				a.daemon.kill()
				a.up()
				b.daemon.kill()
				b.up()
			}
			<-ping.done
			if out := ping.log.String(); !strings.Contains(out, "300 received, 0% packet loss") {
				t.Errorf("ping says %s", out)
			}
			if got := a.env("FLANNEL_SUBNET"); got != subnet {
				t.Errorf("subnet was %s and is %s", subnet, got)
			}
		})
	}
}

func TestRebootKeepsSubnetAndMAC(t *testing.T) {
	c, nodes := threeHosts(t, vxlanConfig, routed...)
	before := c.leases()
	n := nodes[0]
	if status := n.daemon.stop(); status != exitStopped {
		t.Errorf("exit status %d on SIGTERM", status)
	}
	if err := n.Reboot("flannel*"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(n.subnetFile()); err != nil { // /run is empty after a boot
		t.Fatal(err)
	}
	n.up()
	n.run()
	allReach(t, nodes)
	if after := c.leases(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("leases were\n%v\nand are\n%v", before, after)
	}
}

func TestHostJoinsAndLeaves(t *testing.T) {
	c, nodes := threeHosts(t, vxlanConfig, routed[:2]...)
	third := c.node("h3", routed[2])
	third.up()
	third.run()
	allReach(t, append(nodes, third))
	third.daemon.kill()
	key := strings.Replace(strings.Replace(third.env("FLANNEL_SUBNET"), ".1/", ".0/", 1), "/", "-", 1)
	c.etcd("DELETE", "/subnets/"+key)
	eventually(t, converge, func() error {
		out, err := nodes[0].Output("ip", "route", "show", "dev", "flannel.1")
		if err == nil && strings.Count(out, "\n") != 1 {
			err = fmt.Errorf("routes are %s", out)
		}
		return err
	})
}

func TestOwnLeaseDeletedIsTakenBack(t *testing.T) {
	c, nodes := threeHosts(t, vxlanConfig, routed[:2]...)
	before := c.leases()
	for k := range before {
		c.etcd("DELETE", "/subnets/"+k)
	}
	eventually(t, converge, func() error {
		if after := c.leases(); fmt.Sprint(after) != fmt.Sprint(before) {
			return fmt.Errorf("leases are %v", after)
		}
		return nil
	})
	allReach(t, nodes)
}

func TestStolenLeaseIsLeftAndAnotherTaken(t *testing.T) {
	c, nodes := threeHosts(t, vxlanConfig, routed[:2]...)
	n := nodes[0]
	was := n.env("FLANNEL_SUBNET")
	key := strings.Replace(strings.Replace(was, ".1/", ".0/", 1), "/", "-", 1)
	const thief = `{"PublicIP":"192.168.1.99","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:77"}}`
	c.etcd("PUT", "/subnets/"+key, "value="+thief)
	eventually(t, converge, func() error {
		if now := n.env("FLANNEL_SUBNET"); now == was {
			return fmt.Errorf("subnet is still %s", now)
		}
		return nil
	})
	if got := c.leases()[key]; got != thief {
		t.Errorf("the other host's lease was overwritten: %s", got)
	}
	n.logged("192.168.1.99")
}

func TestReservationStaysOne(t *testing.T) {
	c := newCluster(t)
	c.configure(vxlanConfig)
	c.etcd("PUT", "/subnets/10.100.77.0-24", `value={"PublicIP":"192.168.1.11"}`)
	n := c.node("h1", routed[0])
	n.up()
	if got := n.env("FLANNEL_SUBNET"); got != "10.100.77.1/24" {
		t.Errorf("subnet is %s, not the reserved one", got)
	}
	if got := c.etcd("GET", "/subnets/10.100.77.0-24"); strings.Contains(got, "ttl") {
		t.Errorf("the reservation has a TTL: %s", got)
	}
}

func TestConfigIsWaitedFor(t *testing.T) {
	c := newCluster(t)
	n := c.node("h1", routed[0])
	n.launch()
	n.logged("Couldn't fetch network config: 100: Key not found (/coreos.com)")
	for _, bad := range []struct{ doc, says string }{
		{`{"Network":"10.100.0.0/16","Backend":{"Type":"vxlan",}}`, "line 1, column 53: a comma before the closing brace"},
		{`{"Network":"10.100.0.0/16"}`, `the backend "udp"`},
		{`{"Network":"10.100.0.0/16","Backend":{"Type":"vxlam"}}`, "unknown backend type: vxlam"},
	} {
		c.configure(bad.doc)
		n.logged(bad.says)
	}
	c.configure(vxlanConfig)
	written := time.Now()
	n.logged("Found network config - Backend type: vxlan")
	if took := time.Since(written); took > time.Second {
		t.Errorf("a better configuration was taken after %s", took)
	}
	n.logged("flannel is ready")
	c.configure(`{"Network":"10.100.0.0/16","Backend":{"Type":"vxlan","VNI":2}}`)
	n.logged("restart to apply")
}

func TestChangeOfVNIAndBackendRemovesLeftOvers(t *testing.T) {
	c, nodes := threeHosts(t, vxlanConfig, flat[:2]...)
	restart := func(config string) {
		c.configure(config)
		for _, n := range nodes {
			n.daemon.stop()
		}
		for _, n := range nodes {
			n.up()
			n.ip("link", "set", "docker0", "mtu", n.env("FLANNEL_MTU"))
		}
	}
	links := func() string {
		out, err := nodes[0].Output("ip", "-o", "link")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	restart(`{"Network":"10.100.0.0/16","Backend":{"Type":"vxlan","VNI":7}}`)
	if got := links(); strings.Contains(got, "flannel.1:") || !strings.Contains(got, "flannel.7:") {
		t.Errorf("links are %s", got)
	}
	allReach(t, nodes)
	restart(hostgwConfig)
	if got := links(); strings.Contains(got, "flannel.") {
		t.Errorf("links are %s", got)
	}
	eventually(t, converge, func() error {
		return nodes[0].container.Run("ping", "-c1", "-W1", nodes[1].container.Addr().Addr().String())
	})
	restart(`{"Network":"10.100.0.0/16","Backend":{"Type":"alloc"}}`)
	out, err := nodes[0].Output("ip", "route", "show", "proto", "102")
	if err != nil || out != "" {
		t.Errorf("routes left: %q, %v", out, err)
	}
}

func TestUnwritableSubnetFileFailsTheStart(t *testing.T) {
	c := newCluster(t)
	c.configure(vxlanConfig)
	n := c.node("h1", routed[0])
	n.launch("--subnet-file=/proc/nowhere/subnet.env")
	<-n.daemon.done
	if code := n.daemon.ProcessState.ExitCode(); code != exitFailed {
		t.Errorf("exit status %d, want %d", code, exitFailed)
	}
	n.logged("Failed to write subnet file")
}

func TestForeignBackendIsNamed(t *testing.T) {
	c := newCluster(t)
	c.configure(vxlanConfig)
	c.etcd("PUT", "/subnets/10.100.88.0-24", `value={"PublicIP":"192.168.1.50","BackendType":"host-gw"}`)
	c.etcd("PUT", "/subnets/lock", "value=me")
	n := c.node("h1", routed[0])
	n.up()
	n.logged("Ignoring non-vxlan subnet: type=host-gw")
	n.logged("Ignoring a key that is no lease")
	if got := strings.Count(n.daemon.log.String(), "Ignoring a key that is no lease"); got != 1 {
		t.Errorf("junk was logged %d times", got)
	}
}

func TestEtcdOutageLeavesForwardingAlone(t *testing.T) {
	_, nodes := threeHosts(t, vxlanConfig, routed[:2]...)
	a := nodes[0]
	a.ip("link", "set", "lo", "up")
	// The daemon's way to etcd is cut; the hosts' way to each other is not.
	a.ip("route", "add", "blackhole", a.Gateway().String()+"/32")
	time.Sleep(time.Second)
	allReach(t, nodes)
	a.ip("route", "del", "blackhole", a.Gateway().String()+"/32")
	allReach(t, nodes)
}
