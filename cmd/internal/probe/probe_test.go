package probe

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
)

func TestAddressIsWhatAHostAnswersAt(t *testing.T) {
	for _, tt := range []struct{ backend, subnet, want string }{
		{"vxlan", "10.5.2.0/24", "10.5.2.0"},
		{"udp", "10.5.2.0/24", "10.5.2.0"},
		{"host-gw", "10.5.2.0/24", "10.5.2.1"},
		{"vxlan", "fd00:5:0:2::/64", "fd00:5:0:2::"},
	} {
		if got := Address(tt.backend, netip.MustParsePrefix(tt.subnet)); got.String() != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.backend, tt.subnet, got, tt.want)
		}
	}
}

// TestLargestIsFoundExactly tries each size that a path can have, on one where whatever is in
// the way says so, says a size that is no help, or says nothing.
func TestLargestIsFoundExactly(t *testing.T) {
	const most = 1500
	for _, tt := range []struct {
		name      string
		says      func(size, limit int) answer // of a packet that is too large
		blackHole bool
		questions int // at most
	}{
		{"told", func(_, limit int) answer { return answer{limit: limit} }, false, 2},
		{"told by a device", func(size, _ int) answer { return answer{limit: size - 1} }, false, 22},
		{"told too much", func(size, limit int) answer { return answer{limit: min(limit+10, size-1)} }, false, 24},
		{"told too little", func(_, limit int) answer { return answer{limit: max(limit-10, 1)} }, false, 2},
		{"silent", func(int, int) answer { return answer{} }, true, 12},
	} {
		for limit := smallPacket; limit <= most; limit++ {
			questions := 0
			got, blackHole := largest(t.Context(), most, func(size int) answer {
				if questions++; size <= limit {
					return answer{came: true}
				}
				return tt.says(size, limit)
			})
			want := limit
			if tt.name == "told too little" && limit < most {
				want = max(limit-10, smallPacket) // whoever says so forwards no more
			}
			if got != want || blackHole != (tt.blackHole && limit < most) || questions > tt.questions {
				t.Fatalf("%s: %d of %d bytes, black hole %v, after %d questions", tt.name, got, limit, blackHole, questions)
			}
		}
	}
}

// paths is two hosts with a router between them.
func paths(t *testing.T) (from, router *netlab.Host, to []netip.Addr) {
	lab := labtest.New(t)
	labtest.Native(t) // it does not have the errors of a socket
	from, err := lab.Host("h1", "192.168.1.11/24")
	if err != nil {
		t.Fatal(err)
	}
	h2, err := lab.Host("h2", "192.168.2.12/24")
	if err == nil {
		err = errors.Join(from.AddIPv6("fd00:1::11/64"), h2.AddIPv6("fd00:2::12/64"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return from, lab.Switch(), []netip.Addr{h2.Addr().Addr(), h2.Addr6().Addr()}
}

func probeFrom(t *testing.T, h *netlab.Host, mtu int, to ...netip.Addr) (got []Result, err error) {
	t.Helper()
	err = h.Enter(func() (err error) {
		got, err = Run(t.Context(), to, Options{MTU: mtu})
		return err
	})
	return got, err
}

func TestRunMeasuresPaths(t *testing.T) {
	from, router, to := paths(t)
	must := func(h *netlab.Host, script string) {
		t.Helper()
		if err := h.Run("sh", "-ec", script); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name      string
		from, via string // commands
		mtu       int    // that should pass
		want      int
		blackHole bool
	}{
		{"as large as it should", "", "", 1450, 1450, false},
		{"of a kernel that has raw sockets alone", "sysctl -qw net.ipv4.ping_group_range='1 0'", "", 1450, 1450, false},
		{"larger than the device", "", "", 1600, 1500, false},
		{"through a narrow router that says so", "", "ip link set br1 mtu 1342", 1450, 1342, false},
		{"with any user's sockets", "sysctl -qw net.ipv4.ping_group_range='0 0'", "", 1450, 1342, false},
		{"through a narrow router that says nothing", "", `iptables -w -A OUTPUT -p icmp --icmp-type fragmentation-needed -j DROP
			ip6tables -w -A OUTPUT -p icmpv6 --icmpv6-type packet-too-big -j DROP`, 1450, 1342, true},
		{"as raw sockets see it", "sysctl -qw net.ipv4.ping_group_range='1 0'", "", 1450, 1342, true},
	} {
		must(from, tt.from)
		must(router, tt.via)
		got, err := probeFrom(t, from, tt.mtu, to...)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		for i, r := range got {
			if r.Address != to[i] || r.Sent != echoes || r.Received != echoes || r.MTU != tt.want || r.BlackHole != tt.blackHole || r.Err != nil ||
				r.Least <= 0 || r.Least > r.Mean || r.Mean > r.Most {
				t.Errorf("%s: %+v, want %d bytes, black hole %v", tt.name, r, tt.want, tt.blackHole)
			}
		}
	}
}

func TestRunSaysWhyNothingComesBack(t *testing.T) {
	from, router, to := paths(t)
	if err := errors.Join(from.Run("ip", "route", "add", "unreachable", "10.9.0.0/16"), router.Run("ip", "route", "add", "unreachable", "10.8.0.0/16"),
		router.Run("ip", "route", "add", "blackhole", "10.7.0.0/16")); err != nil {
		t.Fatal(err)
	}
	got, err := probeFrom(t, from, 1450, to[0], netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("10.7.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	if here, there, lost := got[1], got[2], got[3]; got[0].Received != echoes || here.Sent != 0 || !errors.Is(here.Err, unix.EHOSTUNREACH) ||
		there.Sent != unanswered || there.Received != 0 || !errors.Is(there.Err, unix.EHOSTUNREACH) || lost.Sent != unanswered || lost.Received != 0 {
		t.Errorf("%+v", got)
	}
}

// TestRunNeedsToBeAllowed has neither the capability nor a group that may ping.
func TestRunNeedsToBeAllowed(t *testing.T) {
	from, _, to := paths(t)
	if err := from.Run("sysctl", "-qw", "net.ipv4.ping_group_range=1 0"); err != nil {
		t.Fatal(err)
	}
	_, err := probeFrom(t, from, 1450, to[0])
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its capabilities
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := from.Enter(func() error {
			if err := unix.Capget(&header, &data[0]); err != nil {
				return err
			}
			whole := data
			data[0].Effective &^= 1 << unix.CAP_NET_RAW
			if err := unix.Capset(&header, &data[0]); err != nil {
				return err
			}
			_, err := Run(context.WithoutCancel(t.Context()), to, Options{})
			return errors.Join(unix.Capset(&header, &whole[0]), err) // it leaves the namespace with all
		})
		refused <- err
	}()
	if err := <-refused; !errors.Is(err, fs.ErrPermission) {
		t.Errorf("without CAP_NET_RAW: %v", err)
	}
}

func TestRunIsBoundedAndTellsHowFarItIs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for raw sockets")
	}
	all := make([]netip.Addr, 3*parallel)
	for i := range all {
		all[i] = netip.AddrFrom4([4]byte{127, 0, 1, byte(i)})
	}
	var last atomic.Int64
	got, err := Run(t.Context(), all, Options{Progress: func(done int) {
		if last.Add(1) != int64(done) {
			t.Errorf("told of %d, after %d", done, last.Load()-1)
		}
	}})
	if err != nil || len(got) != len(all) || int(last.Load()) != len(all) {
		t.Fatalf("%d results, told of %d, %v", len(got), last.Load(), err)
	}
	for _, r := range got {
		if r.Received != r.Sent {
			t.Errorf("%+v", r)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if got, err := Run(ended, all, Options{}); err != nil || len(got) != len(all) {
		t.Errorf("%d results, %v", len(got), err)
	}
}

func FuzzPackets(f *testing.F) {
	f.Add([]byte{0x45, 19: 0, 20: 0, 27: 7}, true)
	f.Add([]byte{8, 0, 0, 0, 0, 1, 0, 7}, false)
	f.Add([]byte{0x4f}, true)
	f.Fuzz(func(t *testing.T, packet []byte, raw bool) {
		for _, a := range []string{"127.0.0.1", "::1"} {
			of := familyOf(netip.MustParseAddr(a))
			of.answers(packet, raw, 1, 7)
			of.quotes(packet, 1, 7)
			if r := of.refusal(packet); r != nil && (r.limit < 0 || r.limit > 1<<16) {
				t.Errorf("%+v", r)
			}
		}
	})
}
