package datapath_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/fake"
)

// twoTunnels are the tunnel and one over IPv6 beside it, each with a host behind.
func twoTunnels() datapath.State {
	return with(func(s *datapath.State) {
		six := vxlan("vx6.1")
		six.MTU, six.VXLAN.Local = 1430, addr("2001:db8::1")
		s.Links = append(s.Links, six)
		s.Addrs = append(s.Addrs, datapath.Addr{Link: "vx6.1", Prefix: prefix("fd00::/128")})
		s.FDB = append(s.FDB, datapath.FDBEntry{Link: "vx6.1", MAC: mac(2), Dst: addr("2001:db8::2")})
		s.Neighs = append(s.Neighs, datapath.Neigh{Link: "vx6.1", IP: addr("fd00:0:0:2::"), MAC: mac(2)})
		s.Routes = append(s.Routes, datapath.Route{
			Dst: prefix("fd00:0:0:2::/64"), Gateway: addr("fd00:0:0:2::"), Link: "vx6.1", OnLink: true, Metric: 1024, Protocol: 77})
	})
}

// refusing is a reconciler on a kernel that does not do what the command begins
// with.
func refusing(command *string, err error) (*datapath.Reconciler, *fake.Kernel) {
	r := onFake()
	k := r.Kernel.(*fake.Kernel)
	k.Fail = func(op datapath.Op) error {
		if *command != "" && strings.HasPrefix(op.String(), *command) {
			return err
		}
		return nil
	}
	return r, k
}

func TestALinkThatCannotBeMadeHoldsUpNoOther(t *testing.T) {
	command := "ip link add vx6.1"
	r, k := refusing(&command, unix.EAFNOSUPPORT)
	_, err := r.Apply(t.Context(), twoTunnels())
	var failed *datapath.ApplyError
	if !errors.As(err, &failed) || len(failed.Failed) != 1 || !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("Apply: %v, want the link's failure alone", err)
	}
	for _, want := range []string{"10.5.1.0/32 dev vx.1", "dst 192.0.2.2", "ip neigh replace 10.5.2.0", "ip route replace 10.5.2.0/24"} {
		if !strings.Contains(k.String(), want) {
			t.Errorf("no %q in\n%s", want, k)
		}
	}
	command = ""
	apply(t, r, twoTunnels())
	if n := apply(t, r, twoTunnels()); n != 0 {
		t.Errorf("one more Apply took %d operations, want none", n)
	}
}

// What a link would have replaced may be all that works.
func TestALinkThatCannotBeMadeTakesNothingAway(t *testing.T) {
	command := ""
	r, k := refusing(&command, unix.EOPNOTSUPP)
	old := vxlan("old.7")
	old.VXLAN.VNI = 7
	before := datapath.State{Links: []datapath.Link{old}, Routes: []datapath.Route{
		via("10.5.2.0/24", "192.0.2.2"), {Dst: prefix("10.5.3.0/24"), Link: "old.7", Protocol: 77},
	}}
	apply(t, r, before)
	had := k.String()
	command = "ip link add vx.1"
	want := with(oneMore)
	if _, err := r.Apply(t.Context(), want); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("Apply: %v", err)
	}
	if got := k.String(); got != had {
		t.Errorf("state is\n%s, was\n%s", got, had)
	}
	command = ""
	apply(t, r, want)
	if n := apply(t, r, want); n != 0 || strings.Contains(k.String(), "old.7") {
		t.Errorf("one more Apply took %d operations, want none; state is\n%s", n, k)
	}
}

func TestALinkThatCannotBeSetKeepsWhatHangsOnIt(t *testing.T) {
	command := ""
	r, k := refusing(&command, unix.EBUSY)
	apply(t, r, tunnel())
	command = "ip link set vx.1"
	want := with(func(s *datapath.State) { s.Links[0].MTU = 1400; oneMore(s) })
	if _, err := r.Apply(t.Context(), want); !errors.Is(err, unix.EBUSY) {
		t.Errorf("Apply: %v", err)
	}
	if !strings.Contains(k.String(), "ip route replace 10.5.3.0/24 via 10.5.3.0 dev vx.1") {
		t.Errorf("the new host's route is not in\n%s", k)
	}
}

// A link of ours under another name, renamed by hand or by a rule of udev, has the
// VNI and the port that the wanted one needs.
func TestALinkOfOursInTheWayGoesFirst(t *testing.T) {
	r := onFake()
	renamed := tunnel()
	renamed.Links[0].Name = "renamed"
	apply(t, r, datapath.State{Links: renamed.Links})
	apply(t, r, tunnel())
	if n := apply(t, r, tunnel()); n != 0 {
		t.Errorf("one more Apply took %d operations, want none", n)
	}
}

// halting counts what it is asked to do, and answers nothing more after so many calls.
type halting struct {
	*fake.Kernel
	sizes []int // of each call
	after int   // zero: it answers all
}

func (h *halting) Do(ctx context.Context, ops []datapath.Op) error {
	if h.sizes = append(h.sizes, len(ops)); h.after != 0 && len(h.sizes) > h.after {
		return errors.Join(errors.New("no answer"))
	}
	return h.Kernel.Do(ctx, ops)
}

func manyRoutes() (s datapath.State) {
	for i := range 2000 {
		s.Routes = append(s.Routes, via(fmt.Sprintf("10.5.%d.%d/28", i/16, i%16*16), "192.0.2.2"))
	}
	return s
}

func TestApplyIsCutIntoPortions(t *testing.T) {
	r := onFake()
	k := &halting{Kernel: r.Kernel.(*fake.Kernel)}
	r.Kernel = k
	enough := errors.New("enough")
	r.Step = func() error {
		if len(k.sizes) == 2 {
			return enough
		}
		return nil
	}
	if _, err := r.Apply(t.Context(), manyRoutes()); !errors.Is(err, enough) {
		t.Errorf("Apply: %v, want the error of the second step", err)
	}
	done := k.sizes[0] + k.sizes[1]
	if have := strings.Count(k.String(), "ip route replace 10.5."); have != done || len(k.sizes) != 2 || done > 1500 {
		t.Errorf("%d routes after portions of %v", have, k.sizes)
	}
	if n := apply(t, r, manyRoutes()); n != 2000-done {
		t.Errorf("%d operations for the rest, want %d", n, 2000-done)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.Step = func() error { cancel(); return nil }
	k.sizes = nil
	if _, err := r.Apply(ctx, datapath.State{}); !errors.Is(err, context.Canceled) || len(k.sizes) != 1 {
		t.Errorf("Apply: %v after portions of %v, want one until it is cancelled", err, k.sizes)
	}
}

// Without an answer there is no progress, however often the kernel is asked.
func TestApplyMakesNoStepWithoutAnAnswer(t *testing.T) {
	r := onFake()
	r.Kernel = &halting{Kernel: r.Kernel.(*fake.Kernel), after: 1}
	steps := 0
	r.Step = func() error { steps++; return nil }
	if _, err := r.Apply(t.Context(), manyRoutes()); err == nil || steps != 1 {
		t.Errorf("Apply: %v, %d steps, want one", err, steps)
	}
}
