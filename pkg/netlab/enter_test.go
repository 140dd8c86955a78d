package netlab_test

import (
	"errors"
	"net"
	"testing"

	"flanneld/pkg/netlab"
)

func TestEnterOpensSocketsInTheNamespaceAndLeavesIt(t *testing.T) {
	if err := netlab.Supported(); err != nil {
		t.Skip(err)
	}
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	ns := lab.Switch().Namespace
	for range 50 { // so that each thread is used, also the process's first
		var l net.Listener
		if err := ns.Enter(func() (err error) {
			l, err = net.Listen("tcp", "127.0.0.1:7")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := ns.Run("sh", "-c", "grep -q ' 0100007F:0007 ' /proc/net/tcp"); err != nil {
			t.Errorf("the socket is not in the namespace: %v", err)
		}
		_ = l.Close()
	}
	broken := errors.New("broken")
	if err := ns.Enter(func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("Enter: %v", err)
	}
	if err := lab.Close(); err != nil {
		t.Errorf("somebody is still there: %v", err)
	}
}
