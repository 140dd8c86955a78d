package kernel

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

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
