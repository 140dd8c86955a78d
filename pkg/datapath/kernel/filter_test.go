package kernel

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/bpf"
	"flanneld/pkg/datapath"
	"flanneld/pkg/netlab/labtest"
)

// mustLoad loads a program that leaves all packets alone, and says which it is.
func mustLoad(t *testing.T) (fd int, id uint32) {
	t.Helper()
	code := []byte{unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, unix.BPF_JMP | unix.BPF_EXIT, 0, 0, 0, 0, 0, 0, 0}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("written for machines whose small end comes first")
	}
	p := bpf.Program{Name: "nothing", Kind: unix.BPF_PROG_TYPE_SCHED_CLS, Code: base64.StdEncoding.EncodeToString(code)}
	fd, err := p.Load()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if id, err = bpf.ID(fd); err != nil {
		t.Fatal(err)
	}
	return fd, id
}

// TestFilters attaches, repairs, replaces and detaches, on a link of ours and on one that
// is somebody else's and has another filter.
func TestFilters(t *testing.T) {
	labtest.Native(t)
	enter(t)
	fd, id := mustLoad(t)
	fd2, id2 := mustLoad(t)
	r := datapath.Reconciler{Kernel: Kernel{}, Scope: datapath.Scope{Owner: "flanneld /test"}, Log: slog.New(slog.DiscardHandler)}
	want := datapath.State{
		Links: []datapath.Link{{Name: "gpe7", Kind: "vxlan", Alias: "flanneld /test", Up: true, MTU: 65000, VXLAN: datapath.VXLAN{Port: 4790, GPE: true}}},
		Filters: []datapath.Filter{
			{Link: "eth0", Owner: "flanneld /test", Program: id, FD: fd},
			{Link: "gpe7", Owner: "flanneld /test", Program: id, FD: fd},
			{Link: "gpe7", Egress: true, Owner: "flanneld /test", Program: id2, FD: fd2},
		},
	}
	apply := func(what string, want datapath.State, changes int) {
		t.Helper()
		for _, n := range []int{changes, 0} {
			got, err := r.Apply(t.Context(), want)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if got != n {
				t.Errorf("%s took %d changes, want %d; the first: %v", what, got, n, r.First)
			}
		}
	}
	link, err := linkByName("eth0")
	if err == nil {
		err = shell("tc qdisc add dev eth0 clsact")
	}
	if err != nil {
		t.Fatal(err)
	}
	others := &netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 5,
		Protocol: unix.ETH_P_ALL}, Fd: fd, Name: "others", DirectAction: true}
	if err := netlink.FilterAdd(others); err != nil {
		t.Fatal(err)
	}
	apply("the first time", want, 4)
	want.Filters[0].Program, want.Filters[0].FD = id2, fd2
	apply("another program", want, 1)
	for _, command := range []string{
		fmt.Sprintf("tc filter del dev eth0 ingress prio %d", datapath.FilterPriority), "tc qdisc del dev gpe7 clsact", "ip link del gpe7",
	} {
		if err := shell(command); err != nil {
			t.Fatal(err)
		}
		apply("after "+command, want, strings.Count(command, "eth0")+2*strings.Count(command, "clsact")+3*strings.Count(command, "link"))
	}
	second := datapath.Filter{Link: "eth0", Owner: "flanneld /second", Program: id, FD: fd}
	if err := (Kernel{}).Do(t.Context(), []datapath.Op{{Verb: datapath.Set, Object: second}}); err != nil {
		t.Fatal(err)
	}
	apply("beside a second daemon's", want, 0)
	apply("nothing wanted", datapath.State{}, 2) // the others go with their link
	out, err := exec.Command("tc", "filter", "show", "dev", "eth0", "ingress").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "others") || !strings.Contains(string(out), second.Owner) || strings.Contains(string(out), "/test") {
		t.Errorf("on eth0 there is now %s (%v), want the filters of others only", out, err)
	}
}

// TestDeletedFilterIsSeen by the watch.
func TestDeletedFilterIsSeen(t *testing.T) {
	labtest.Native(t)
	ns := enter(t)
	fd, id := mustLoad(t)
	f := datapath.Filter{Link: "eth0", Owner: "flanneld /test", Program: id, FD: fd}
	wake, _ := watch(t, ns, datapath.Scope{Owner: "flanneld /test"})
	for _, v := range []datapath.Verb{datapath.Set, datapath.Delete} {
		drain(wake)
		if err := (Kernel{}).Do(t.Context(), []datapath.Op{{Verb: v, Object: f}}); err != nil {
			t.Fatal(err)
		}
		if !woken(wake, soon) {
			t.Errorf("%s of a filter went unseen", v)
		}
	}
}
