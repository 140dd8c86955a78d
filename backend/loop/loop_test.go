package loop_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"flanneld/backend"
	"flanneld/backend/loop"
	"flanneld/pkg/datapath"
	"flanneld/pkg/logtest"
	"flanneld/pkg/wake"
	"flanneld/subnet"
)

// script is what the backend, the firewall and the kernel of a test do, and what they
// were asked.
type script struct {
	backend.Backend
	routes atomic.Int32         // that each plan has, and each pass makes
	fail   func(pass int) error // of Plan, counted from 1; nil: never
	broken func(pass int) []error
	skip   []backend.Skip
	closed atomic.Bool   // the firewall's rules are not in place
	takes  time.Duration // each call of the kernel

	mu     sync.Mutex
	planes [][]backend.Plane // what Plan was called with
	steps  []string          // in their order
}

func (s *script) step(format string, arg ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, fmt.Sprintf(format, arg...))
}

// took returns the steps since the last call.
func (s *script) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	steps := s.steps
	s.steps = nil
	return steps
}

func (s *script) passes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.planes)
}

func (s *script) MTU() int { return 1450 }

func (s *script) Plan(ctx context.Context, planes []backend.Plane) (backend.Plan, error) {
	s.step("plan")
	s.mu.Lock()
	s.planes = append(s.planes, planes)
	pass := len(s.planes)
	s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(pass); err != nil {
			return backend.Plan{}, err
		}
	}
	plan := backend.Plan{Skipped: s.skip, Ingress: make([]backend.Ingress, len(planes))}
	for n := range s.routes.Load() {
		plan.State.Routes = append(plan.State.Routes, datapath.Route{Dst: subnetOf(int(n)), Link: "eth0", Protocol: 102})
	}
	return plan, nil
}

func (s *script) Admit(_ context.Context, planes []backend.Plane, ingress []backend.Ingress) error {
	s.step("admit %d by %d", len(planes), len(ingress))
	return nil
}

func (s *script) InPlace() bool { return !s.closed.Load() }

// kernel forgets what is made in it.
type kernel struct{ *script }

func (kernel) Read(context.Context, datapath.Scope) (datapath.State, error) {
	return datapath.State{}, nil
}

func (k kernel) Do(ctx context.Context, ops []datapath.Op) error {
	k.step("apply")
	select {
	case <-time.After(k.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	if k.broken == nil {
		return nil
	}
	return errors.Join(k.broken(k.passes())...)
}

func (k kernel) Watch(ctx context.Context, _ datapath.Scope, underlay string, _ chan<- struct{}) error {
	k.step("watch %s", underlay)
	<-ctx.Done()
	return nil
}

// bench is a Loop at work in fake time.
type bench struct {
	*testing.T
	script *script
	be     backend.Backend
	loop   loop.Loop
	wake   wake.Chan
	log    logtest.Buffer
	read   int // of the log, by logged
	ended  chan error
}

var eth0 = backend.Underlay{Name: "eth0", MTU: 1500, V4: netip.MustParseAddr("192.0.2.1")}

// run starts a loop, after setup, and ends it after f. That it leaves no
// goroutine the bubble sees to.
func run(t *testing.T, setup, f func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, script: new(script), wake: wake.New(), ended: make(chan error, 1)}
		b.be = b.script
		b.loop.Planes = func() ([]backend.Plane, []backend.Fault) { return nil, nil }
		b.loop.Wake, b.loop.Kernel, b.loop.Firewall = b.wake, kernel{b.script}, b.script
		b.loop.Log = slog.New(slog.NewTextHandler(&b.log, nil))
		setup(b)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { b.ended <- b.loop.Run(ctx, b.be, eth0) }()
		f(b)
		cancel()
		synctest.Wait()
		select {
		case err := <-b.ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		default:
			t.Error("Run has not ended with its context")
		}
	})
}

func subnetOf(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(n), 0}), 24)
}

// peers returns a plane with peers of these numbers; one that is negative has
// moved.
func peers(numbers ...int) []backend.Plane {
	p := backend.Plane{Network: netip.MustParsePrefix("10.5.0.0/16")}
	for _, n := range numbers {
		p.Peers = append(p.Peers, subnet.Claim{Subnet: subnetOf(max(n, -n)), PublicIP: netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})})
	}
	return []backend.Plane{p}
}

// wantLogged compares the lines that were logged since the last call, without their
// time.
func (b *bench) wantLogged(want ...string) {
	b.Helper()
	synctest.Wait()
	var lines []string
	text := b.log.String()
	for line := range strings.Lines(text[b.read:]) {
		_, said, _ := strings.Cut(strings.TrimSpace(line), " level=")
		lines = append(lines, said)
	}
	b.read = len(text)
	if d := cmp.Diff(want, lines); d != "" {
		b.Errorf("log (-want +got):\n%s", d)
	}
}

func (b *bench) took(want ...string) {
	b.Helper()
	synctest.Wait()
	if d := cmp.Diff(want, b.script.took()); d != "" {
		b.Errorf("steps (-want +got):\n%s", d)
	}
}

// look makes the loop pass once.
func (b *bench) look() {
	b.wake.Wake()
	time.Sleep(time.Second)
	synctest.Wait()
}

func TestTheFirewallIsFirst(t *testing.T) {
	run(t, func(b *bench) {
		b.script.routes.Store(1)
		b.loop.Planes = func() ([]backend.Plane, []backend.Fault) { return peers(2), nil }
	}, func(b *bench) {
		b.took("plan", "admit 1 by 1", "apply", "watch eth0")
		time.Sleep(time.Second)
		b.look()
		b.took("plan", "admit 1 by 1", "apply")
		if b.script.closed.Store(true); b.loop.CheckForwarder(b.Context()) != nil {
			t.Error("what moves no packets does not answer")
		}
	})
}

func TestLoopTakesThePlanesAnewInEachPass(t *testing.T) {
	setup := func(b *bench) {
		n := 0
		b.loop.Planes = func() ([]backend.Plane, []backend.Fault) {
			n++
			return []backend.Plane{{Peers: make([]subnet.Claim, n)}}, nil
		}
	}
	run(t, setup, func(b *bench) {
		time.Sleep(time.Second)
		b.look()
		synctest.Wait()
		if got := b.script.planes; len(got) != 2 || len(got[0][0].Peers) != 1 || len(got[1][0].Peers) != 2 {
			t.Errorf("planes are %v, want one peer, then two", got)
		}
	})
}

func TestLoopTellsDone(t *testing.T) {
	route := &datapath.OpError{Op: datapath.Op{Object: datapath.Route{Dst: subnetOf(2)}}, Err: errors.New("unreachable")}
	full := errors.New("no buffers")
	run(t, func(b *bench) {
		var outcomes []string
		b.script.routes.Store(5)
		b.script.broken = func(pass int) []error {
			return map[int][]error{2: {route}, 3: {route, route, route}}[pass]
		}
		b.script.fail = func(pass int) error {
			if pass == 4 {
				return full
			}
			return nil
		}
		b.loop.Resync = time.Second
		b.loop.Planes = func() ([]backend.Plane, []backend.Fault) {
			return []backend.Plane{{Peers: make([]subnet.Claim, 3)}, {Peers: make([]subnet.Claim, 2)}}, nil
		}
		b.loop.Done = func(p loop.Pass) error {
			if p.Peers != 3 || p.MTU != 1450 || (p.Err == nil) != (len(outcomes) == 0 || len(outcomes) > 3) || errors.Is(p.Err, full) != (len(outcomes) == 3) {
				t.Errorf("Done heard of %+v as number %d", p, len(outcomes)+1)
			}
			outcomes = append(outcomes, fmt.Sprint(p.Ready))
			b.script.closed.Store(len(outcomes) == 5)
			if len(outcomes) == 6 && strings.Join(outcomes, " ") != "true true false false true false" {
				t.Errorf("ready: %v", outcomes)
			}
			return nil
		}
	}, func(b *bench) {
		time.Sleep(time.Minute)
		if synctest.Wait(); b.script.passes() < 6 {
			t.Errorf("only %d passes", b.script.passes())
		}
	})
}

// With 5,120 routes a pass is ten calls of the kernel, which takes 10 s for each here.
func TestAPassThatTakesLongGetsOn(t *testing.T) {
	var steps atomic.Int32
	var now atomic.Pointer[[]backend.Plane]
	of := func(numbers ...int) { p := peers(numbers...); now.Store(&p) }
	of(2)
	run(t, func(b *bench) {
		b.script.routes.Store(5120)
		b.script.takes = 10 * time.Second
		b.loop.Progress = func() { steps.Add(1) }
		b.loop.Planes = func() ([]backend.Plane, []backend.Fault) { return *now.Load(), nil }
	}, func(b *bench) {
		time.Sleep(35 * time.Second)
		if n := steps.Load(); n != 3 {
			t.Errorf("%d signs of progress in 35 s, want 3", n)
		}
		b.took("plan", "admit 1 by 1", "apply", "apply", "apply", "apply")
		b.wake.Wake() // a reason to look, but nothing else is wanted
		time.Sleep(10 * time.Second)
		b.took("apply")
		of(2, 3)
		b.script.routes.Store(1)
		time.Sleep(10 * time.Second)
		b.took("plan", "admit 1 by 1", "apply")
		time.Sleep(8 * time.Second)
		b.wantLogged(`INFO msg="Forwarding to the subnets of other hosts: 2 added"`)
		b.took("watch eth0", "plan", "admit 1 by 1", "apply") // the token is still there
	})
}

func TestLoopEndsWithDonesError(t *testing.T) {
	full := errors.New("disk is full")
	run(t, func(b *bench) {
		b.loop.Done = func(loop.Pass) error { return full }
	}, func(b *bench) {
		if err := <-b.ended; !errors.Is(err, full) {
			t.Errorf("Run: %v, want %v", err, full)
		}
		b.ended <- nil // run looks at it too
	})
}

func TestLoopNamesPeersThatComeAndGo(t *testing.T) {
	now := peers(2, 3)
	run(t, func(b *bench) { b.loop.Planes = func() ([]backend.Plane, []backend.Fault) { return now, nil } }, func(b *bench) {
		step := func(p []backend.Plane) {
			now = p
			b.look()
		}
		time.Sleep(time.Second)
		b.wantLogged(`INFO msg="Forwarding to the subnets of other hosts: 2 added"`)
		step(peers(2, 3))
		b.wantLogged()
		step(peers(3, 4))
		b.wantLogged(`INFO msg="Subnet removed: 10.5.2.0/24"`, `INFO msg="Subnet added: 10.5.4.0/24 via 192.0.2.4"`)
		step(peers(-3, 4))
		b.wantLogged(`INFO msg="Subnet added: 10.5.3.0/24 via 192.0.2.253"`)
		var many []int
		for n := range 30 {
			many = append(many, 10+n)
		}
		step(peers(many...))
		b.wantLogged(`INFO msg="Subnets added: 30, removed: 2" forwarding=30`)
	})
}

func TestLoopNamesPeersOnceTheyAreForwardedTo(t *testing.T) {
	run(t, func(b *bench) {
		b.script.fail = func(pass int) error {
			if pass < 3 {
				return errors.New("no buffers")
			}
			return nil
		}
		b.loop.Planes = func() ([]backend.Plane, []backend.Fault) { return peers(2), nil }
	}, func(b *bench) {
		time.Sleep(time.Minute)
		b.wantLogged(`ERROR msg="Datapath is not as it should be; trying again" err="no buffers"`,
			`INFO msg="Datapath is in step again" peers=1`, `INFO msg="Forwarding to the subnets of other hosts: 1 added"`)
	})
}

func TestLoopNamesNoPeerWhoseRouteIsRefused(t *testing.T) {
	var told loop.Pass
	var free atomic.Bool // the route's place
	run(t, func(b *bench) {
		b.script.routes.Store(2)
		b.script.broken = func(int) []error {
			if free.Load() {
				return nil
			}
			return []error{&datapath.OpError{Op: datapath.Op{Verb: datapath.Set, Object: datapath.Route{Dst: subnetOf(3)}}, Err: datapath.ErrForeign}}
		}
		b.loop.Planes = func() ([]backend.Plane, []backend.Fault) { return peers(2, 3), nil }
		b.loop.Done = func(p loop.Pass) error { told = p; return nil }
	}, func(b *bench) {
		synctest.Wait()
		if text := b.log.String(); !told.Ready || told.Peers != 1 || !strings.Contains(text, "1 added") || !strings.Contains(text, "10.5.3.0/24") {
			t.Errorf("told %+v; log is\n%s", told, text)
		}
		b.read = len(b.log.String())
		free.Store(true)
		time.Sleep(time.Minute)
		if b.wantLogged(`INFO msg="Datapath is in step again" peers=2`, `INFO msg="Subnet added: 10.5.3.0/24 via 192.0.2.3"`); told.Peers != 2 {
			t.Errorf("told of %d peers, want 2", told.Peers)
		}
	})
}

func TestLoopDoesNotCountSkippedPeers(t *testing.T) {
	var told loop.Pass
	run(t, func(b *bench) {
		b.script.skip = []backend.Skip{{Subnet: subnetOf(3), Reason: errors.New("odd")}}
		b.loop.Planes = func() ([]backend.Plane, []backend.Fault) { return peers(2, 3, 4), nil }
		b.loop.Done = func(p loop.Pass) error { told = p; return nil }
	}, func(b *bench) {
		const skipped = `WARN msg="Ignoring a peer: it cannot be forwarded to" subnet=10.5.3.0/24 reason=odd`
		b.wantLogged(skipped, `INFO msg="Forwarding to the subnets of other hosts: 2 added"`)
		if told.Peers != 2 {
			t.Errorf("Done was told of %d peers, want 2", told.Peers)
		}
		time.Sleep(time.Second)
		b.look() // nothing new
		b.wantLogged()
		b.script.skip = []backend.Skip{{Subnet: subnetOf(3), Reason: errors.New("even")}}
		b.look()
		b.wantLogged(strings.Replace(skipped, "odd", "even", 1))
		for n := range 25 {
			b.script.skip = append(b.script.skip, backend.Skip{Subnet: subnetOf(100 + n), Reason: errors.New("odd")})
		}
		b.look()
		if synctest.Wait(); !strings.Contains(b.log.String(), `WARN msg="Ignoring more peers" count=5`) || strings.Count(b.log.String(), "Ignoring a peer") != 22 {
			t.Errorf("log is\n%s", &b.log)
		}
	})
}

// TestLoopTellsOfRepairs: changes count if the pass before was a success and the
// planes are the same.
func TestLoopTellsOfRepairs(t *testing.T) {
	now := peers(2)
	run(t, func(b *bench) {
		b.loop.Planes = func() ([]backend.Plane, []backend.Fault) { return now, nil }
		b.script.routes.Store(5)
	}, func(b *bench) {
		time.Sleep(time.Second)
		b.wantLogged(`INFO msg="Forwarding to the subnets of other hosts: 1 added"`)
		b.script.routes.Store(3)
		now = peers(2, 3)
		b.look()
		b.wantLogged(`INFO msg="Subnet added: 10.5.3.0/24 via 192.0.2.3"`)
		b.script.routes.Store(2)
		b.look()
		line := `INFO msg="Others had changed the network state; it was put right" changes=%d first="ip route replace 10.5.0.0/24 dev eth0 proto 102"`
		b.wantLogged(fmt.Sprintf(line, 2))
		for range 50 {
			b.look()
		}
		b.wantLogged()
		b.script.routes.Store(0)
		time.Sleep(2 * time.Minute)
		b.wantLogged(fmt.Sprintf(line, 100))
	})
}

// forwarder moves packets itself, and is stuck if it is told so.
type forwarder struct {
	*script
	name  string
	stuck atomic.Bool
}

func (f *forwarder) Forward([]backend.Plane) error { f.step("forward %s", f.name); return nil }

func (f *forwarder) Run(ctx context.Context) error {
	<-ctx.Done()
	f.step("end %s", f.name)
	return nil
}

func (f *forwarder) InKernel() (string, []netip.Prefix) {
	return "full", []netip.Prefix{netip.MustParsePrefix("10.5.2.0/24")}
}

func (f *forwarder) Counters() []backend.Counter { return []backend.Counter{{Name: f.name, Value: 7}} }

func (f *forwarder) Alive(ctx context.Context) error {
	if !f.stuck.Load() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// Without its route a forwarder gets no packets: that is a failure of the whole.
func TestAForwarderFollowsTheWholeDatapath(t *testing.T) {
	var told []bool
	kernel := ""
	run(t, func(b *bench) {
		b.be = &forwarder{script: b.script, name: "a"}
		b.script.routes.Store(1)
		b.script.broken = func(pass int) []error {
			if pass > 1 {
				return nil
			}
			return []error{&datapath.OpError{Op: datapath.Op{Object: datapath.Route{Dst: subnetOf(2)}}, Err: unix.ENETUNREACH}}
		}
		b.loop.Planes = func() ([]backend.Plane, []backend.Fault) { return peers(2, 3), nil }
		b.loop.Done = func(p loop.Pass) error { told, kernel = append(told, p.Ready), p.Kernel; return nil }
	}, func(b *bench) {
		b.took("plan", "admit 1 by 1", "apply", "watch eth0")
		time.Sleep(time.Second)
		b.took("plan", "admit 1 by 1", "apply", "forward a")
		if !slices.Equal(told, []bool{false, true}) {
			t.Errorf("ready: %v, want not at first", told)
		}
		if c := b.loop.Counters(); len(c) != 1 || c[0].Name != "a" {
			t.Errorf("counters are %v", c)
		}
		if peers := b.loop.InKernel(); kernel != "full" || len(peers) != 1 {
			t.Errorf("by the kernel: %q, %v", kernel, peers)
		}
		bound, cancel := context.WithTimeout(b.Context(), time.Second)
		defer cancel()
		if err := b.loop.CheckForwarder(bound); err != nil {
			t.Errorf("one that runs: %v", err)
		}
		b.be.(*forwarder).stuck.Store(true)
		if err := b.loop.CheckForwarder(bound); err == nil {
			t.Error("alive with a forwarder that is stuck")
		}
	})
}

// interfaces is an underlay that changes.
type interfaces struct {
	now        backend.Underlay
	what       string
	complaints []string
}

func (i *interfaces) Look(u backend.Underlay) (backend.Underlay, string) {
	if i.now == u {
		return u, i.what
	}
	return i.now, i.what
}

func (i *interfaces) Complain(what string) { i.complaints = append(i.complaints, what) }

func TestABackendFollowsTheUnderlay(t *testing.T) {
	i := &interfaces{now: eth0}
	eth1 := eth0
	eth1.Name, eth1.V4 = "eth1", netip.MustParseAddr("192.0.2.9")
	refuse := errors.New("not there")
	run(t, func(b *bench) {
		b.be = &forwarder{script: b.script, name: "a"}
		b.loop.Underlay = i
		b.loop.New = func(u backend.Underlay, before backend.Backend) (backend.Backend, error) {
			if refuse != nil {
				return nil, refuse
			}
			b.script.step("new %s after %s", u.Name, before.(*forwarder).name)
			return &forwarder{script: b.script, name: "b"}, nil
		}
		b.loop.Moved = func(u backend.Underlay, next backend.Backend) error {
			b.script.step("moved %s to %s", u.Name, next.(*forwarder).name)
			return nil
		}
	}, func(b *bench) {
		time.Sleep(time.Second)
		b.took("plan", "admit 0 by 0", "forward a", "watch eth0")
		i.what = "eth0 is away"
		b.look()
		i.now = eth1
		b.look()
		if d := cmp.Diff([]string{"eth0 is away", "eth0 is away: not there"}, i.complaints); d != "" {
			t.Errorf("complaints (-want +got):\n%s", d)
		}
		b.script.took()
		refuse = nil
		b.wantLogged()
		b.wake.Wake()
		synctest.Wait()
		i.what = ""
		time.Sleep(time.Second)
		b.took("plan", "admit 0 by 0", "forward a", "new eth1 after a", "end a", "moved eth1 to b", "plan", "admit 0 by 0", "forward b", "watch eth1")
		b.wantLogged(`WARN msg="This host's address has changed; following it" interface=eth1 was=192.0.2.1 now=192.0.2.9 PublicIP=""`)
		if c := b.loop.Counters(); len(c) == 0 || c[0].Name != "b" {
			t.Errorf("counters are %v", c)
		}
	})
}

func TestFaultsOfLeasesAreLoggedOnce(t *testing.T) {
	fault := backend.Fault{Level: slog.LevelWarn, Text: "It is odd", Attrs: []any{"subnet", subnetOf(2)}}
	run(t, func(b *bench) {
		b.loop.Planes = func() ([]backend.Plane, []backend.Fault) { return nil, []backend.Fault{fault} }
	}, func(b *bench) {
		time.Sleep(time.Second)
		b.look()
		b.wantLogged(`WARN msg="It is odd" subnet=10.5.2.0/24`)
		fault.Attrs = []any{"subnet", subnetOf(3)} // it is another lease now
		b.look()
		b.wantLogged(`WARN msg="It is odd" subnet=10.5.3.0/24`)
	})
}
