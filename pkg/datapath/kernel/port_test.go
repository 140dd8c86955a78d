package kernel

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
	"flanneld/pkg/netlab/labtest"
)

// The kernel tells neither which port is taken nor what else would do.
func TestATakenPortIsNamed(t *testing.T) {
	labtest.Native(t)
	enter(t)
	link := tunnelLink()
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(link.VXLAN.Port)})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = Kernel{}.Do(t.Context(), []datapath.Op{{Verb: datapath.Make, Object: link}})
	want := fmt.Sprintf("UDP port %d is taken; see who has it (ss -lunp sport = :%[1]d), and end that or choose another port", link.VXLAN.Port)
	if !errors.Is(err, unix.EADDRINUSE) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("Do: %v, want EADDRINUSE and %q", err, want)
	}
}

// A port of the kernel's own has no process.
func TestAPortThatAnotherLinkHasIsNamedWithIt(t *testing.T) {
	labtest.Native(t)
	enter(t)
	link := tunnelLink()
	other := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "other0"}, VxlanId: 99, Port: int(link.VXLAN.Port), UDP6ZeroCSumRx: true, GBP: true}
	if err := netlink.LinkAdd(other); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(other); err != nil {
		t.Fatal(err)
	}
	err := Kernel{}.Do(t.Context(), []datapath.Op{{Verb: datapath.Make, Object: link}})
	want := fmt.Sprintf("interface other0 has UDP port %d, with other options; delete it or choose another port", link.VXLAN.Port)
	if !errors.Is(err, unix.EADDRINUSE) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("Do: %v, want EADDRINUSE and %q", err, want)
	}
}
