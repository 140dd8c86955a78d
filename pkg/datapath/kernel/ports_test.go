package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"flanneld/pkg/netif"
	"flanneld/pkg/netlab/labtest"
)

func TestLargePorts(t *testing.T) {
	labtest.Native(t)
	labtest.OwnNamespace(t)
	if ports, err := LargePorts("br0", 1300); ports != nil || err != nil {
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
	if ports, err := LargePorts("br0", 1300); ports == nil || len(ports) > 0 || err != nil {
		t.Errorf("ports of an empty bridge are %v, %v", ports, err)
	}
	for name, mtu := range map[string]int{"p1": 1400, "p2": 9000, "small": 1300, "other": 1500} {
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
	ports, err := LargePorts("br0", 1300)
	if diff := cmp.Diff(map[string]int{"p1": 1400, "p2": 9000}, ports); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if err := netlink.AddrAdd(bridge, &netlink.Addr{IPNet: &net.IPNet{IP: net.IP{10, 5, 1, 1}, Mask: net.CIDRMask(32, 32)}}); err != nil {
		t.Fatal(err)
	}
	if got, err := netif.Prefixes("br0"); err != nil || len(got) == 0 || got[0] != netip.MustParsePrefix("10.5.1.1/32") {
		t.Errorf("addresses are %v, %v", got, err)
	}
	if got, err := netif.Prefixes("br1"); !errors.Is(err, netif.ErrNoInterface) {
		t.Errorf("addresses of no interface are %v, %v", got, err)
	}
}

// many makes a bridge with so many ports, whose other ends are elsewhere, as those of
// containers are.
func many(t testing.TB, n int) {
	t.Helper()
	elsewhere, err := exec.Command("sleep", "1000"), error(nil)
	elsewhere.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if err = elsewhere.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { elsewhere.Process.Kill(); elsewhere.Wait() })
	var batch strings.Builder
	batch.WriteString("link add br0 up type bridge\naddr add 10.5.1.1/24 dev br0\n")
	for i := range n {
		fmt.Fprintf(&batch, "link add veth%d mtu 1450 master br0 up type veth peer name eth%d netns %d\n", i, i, elsewhere.Process.Pid)
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestALookIsSmall bounds what a look at a host with many containers leaves for the
// garbage collector.
func TestALookIsSmall(t *testing.T) {
	labtest.Native(t)
	labtest.OwnNamespace(t)
	look := func() {
		if ports, err := LargePorts("br0", 1450); ports == nil || len(ports) > 0 || err != nil {
			t.Fatalf("large ports are %v, %v", ports, err)
		}
		if all, err := netif.Prefixes("br0"); len(all) == 0 || err != nil {
			t.Fatalf("addresses are %v, %v", all, err)
		}
	}
	many(t, 200)
	if ports, err := LargePorts("br0", 1449); len(ports) != 200 || err != nil {
		t.Fatalf("there are %d ports, %v", len(ports), err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const times = 10
	for range times {
		look()
	}
	runtime.ReadMemStats(&after)
	// The netlink package copies what it receives, some 500 bytes a port.
	if n := (after.TotalAlloc - before.TotalAlloc) / times; n > 200<<10 {
		t.Errorf("a look at 200 ports allocates %d bytes", n)
	}
}

// BenchmarkLook is a look at a bridge with 1,000 ports, and what it would be if all
// links were asked for.
func BenchmarkLook(b *testing.B) {
	runtime.LockOSThread()
	ns, err := netns.New()
	if err != nil {
		b.Skip("a network namespace can be made by root only:", err)
	}
	many(b, 1000)
	for name, look := range map[string]func() error{
		"ports":     func() error { _, err := LargePorts("br0", 1450); return err },
		"addresses": func() error { _, err := netif.Prefixes("br0"); return err },
		"all links": func() error { _, err := netif.Dump(netlink.LinkList); return err },
		"net.Interface": func() error {
			i, err := net.InterfaceByName("br0")
			if err == nil {
				_, err = i.Addrs()
			}
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			runtime.LockOSThread() // for good: the thread ends with the goroutine
			if err := netns.Set(ns); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			before := spent(b)
			for b.Loop() {
				if err := look(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((spent(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// spent returns how long the thread has had a processor.
func spent(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// FuzzParsePort: what is read lies within the message, and is what the netlink package
// reads, if that reads it.
func FuzzParsePort(f *testing.F) {
	message := append(nl.NewIfInfomsg(unix.AF_UNSPEC).Serialize(), nl.NewRtAttr(unix.IFLA_IFNAME, []byte("veth1\x00")).Serialize()...)
	message = append(message, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(1450)).Serialize()...)
	message = append(message, nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(7)).Serialize()...)
	f.Add(message)
	f.Add(message[:len(message)-3])
	f.Add([]byte{})
	f.Add([]byte("0000000000000000\n\x0000000000")) // the last attribute is not filled up
	f.Fuzz(func(t *testing.T, m []byte) {
		name, master, mtu := parsePort(m)
		if len(m) < unix.SizeofIfInfomsg {
			if name != nil || master != 0 || mtu != 0 {
				t.Errorf("%x is read as %q, %d, %d", m, name, master, mtu)
			}
			return
		}
		if len(m)%unix.RTA_ALIGNTO != 0 {
			return // which it panics at
		}
		attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfInfomsg:])
		if err != nil {
			return
		}
		var wantName []byte
		wantMaster, wantMTU := uint32(0), uint32(0)
		for _, a := range attrs {
			switch a.Attr.Type &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER) {
			case unix.IFLA_IFNAME:
				wantName = a.Value
			case unix.IFLA_MASTER:
				wantMaster = toUint32(a.Value)
			case unix.IFLA_MTU:
				wantMTU = toUint32(a.Value)
			}
		}
		if !bytes.Equal(name, wantName) || master != int(wantMaster) || mtu != int(wantMTU) {
			t.Errorf("%x is read as %q, %d, %d, want %q, %d, %d", m, name, master, mtu, wantName, wantMaster, wantMTU)
		}
	})
}
