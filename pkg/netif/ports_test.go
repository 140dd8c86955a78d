package netif

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

func TestPorts(t *testing.T) {
	ownNamespace(t)
	if ports, err := Ports("br0"); ports != nil || err != nil {
		t.Errorf("ports of no bridge are %v, %v", ports, err)
	}
	add := func(l netlink.Link) {
		t.Helper()
		if err := netlink.LinkAdd(l); err != nil {
			t.Fatal(err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	add(bridge)
	if ports, err := Ports("br0"); ports == nil || len(ports) > 0 || err != nil {
		t.Errorf("ports of an empty bridge are %v, %v", ports, err)
	}
	for name, mtu := range map[string]int{"p1": 1400, "p2": 9000, "other": 1500} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = name, mtu
		l := &netlink.Veth{LinkAttrs: attrs, PeerName: name + "-"}
		add(l)
		if name == "other" {
			continue
		}
		if err := netlink.LinkSetMaster(l, bridge); err != nil {
			t.Fatal(err)
		}
	}
	ports, err := Ports("br0")
	if diff := cmp.Diff(map[string]int{"p1": 1400, "p2": 9000}, ports); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
