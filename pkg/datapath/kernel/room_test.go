package kernel

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
	"flanneld/pkg/netlab/labtest"
)

// unprivileged is a socket as in a user namespace, where SO_RCVBUFFORCE is not
// allowed: with the queue that Linux gives by default (net.core.rmem_default).
func unprivileged(t *testing.T) *socket {
	t.Helper()
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	const byDefault = 212992 // which is what comes of half of it
	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, byDefault/2)
	})
	if err != nil || refused != nil {
		t.Fatal(err, refused)
	}
	s.room = byDefault
	return s
}

func TestManyFailuresWithoutPrivilege(t *testing.T) {
	labtest.Native(t) // qemu refuses how the netlink package asks for a link
	enter(t)
	b := batch{socket: unprivileged(t), index: make(map[string]int)}
	const n = 1000
	for i := range n {
		b.add(datapath.Op{Verb: datapath.Set, Object: datapath.Route{
			Dst:     netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24),
			Gateway: netip.MustParseAddr("203.0.113.1"), Link: "eth0", Protocol: 77,
		}})
	}
	b.flush()
	if len(b.errs) != n {
		t.Errorf("%d failures, want %d", len(b.errs), n)
	}
	for _, err := range b.errs {
		if !errors.As(err, new(*datapath.OpError)) || !errors.Is(err, unix.ENETUNREACH) {
			t.Fatalf("failure is %v", err)
		}
	}
}
