package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"flanneld/backend"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
	"flanneld/pkg/wake"
	"flanneld/subnet"
)

var discard = slog.New(slog.DiscardHandler)

// off lets in anything.
var off = backend.Filter{Off: true}

// lab is a host for firewalls.
type lab struct {
	*testing.T
	host  netlab.Namespace
	netns int
}

func newLab(t *testing.T) lab {
	t.Helper()
	for _, program := range []string{"iptables-nft-restore", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed (Debian: iptables, nftables)")
		}
	}
	l := labtest.New(t)
	ns, err := netns.GetFromName(l.Switch().Namespace.Namespace())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return lab{t, l.Switch().Namespace, int(ns)}
}

func (l lab) firewall(p Policy) *Firewall {
	p.Networks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	return newFirewall(p, "eth0", l.run, l.netns, discard)
}

// admit tells a firewall of the planes, whose packets all come in in one way.
func (l lab) admit(f *Firewall, in backend.Ingress, planes []backend.Plane) {
	l.Helper()
	ways := make([]backend.Ingress, len(planes))
	for i := range ways {
		ways[i] = in
	}
	if err := f.Admit(l.Context(), planes, ways); err != nil {
		l.Fatal(err)
	}
}

func (l lab) run(ctx context.Context, stdin, program string, arg ...string) (string, error) {
	cmd := l.host.Command(ctx, program, arg...)
	return iptables.Exec(ctx, stdin, cmd.Args[0], cmd.Args[1:]...)
}

func (l lab) nft(arg ...string) string {
	l.Helper()
	out, err := l.host.Output("nft", arg...)
	if err != nil {
		l.Fatal(err)
	}
	return out
}

var tunnelIngress = backend.Ingress{Device: "flannel.1", Port: 8472, Kernel: true, VNI: 1}

// planeOf returns a plane with peers at the addresses.
func planeOf(publicIPs ...string) []backend.Plane {
	p := backend.Plane{Network: netip.MustParsePrefix("10.1.0.0/16"), Subnet: netip.MustParsePrefix("10.1.1.0/24")}
	for i, ip := range publicIPs {
		p.Peers = append(p.Peers, subnet.Claim{
			Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i + 2), 0}), 24), PublicIP: netip.MustParseAddr(ip),
		})
	}
	return []backend.Plane{p}
}

// The backend makes routes once Admit has returned.
func TestPeersAreLetInBeforeThereIsARoute(t *testing.T) {
	l := newLab(t)
	f := l.firewall(Policy{})
	peers := []string{"192.0.2.2", "192.0.2.3"}
	for i, ip := range peers {
		l.admit(f, tunnelIngress, planeOf(peers[:i+1]...))
		if saw := l.nft("list", "set", "inet", "flanneld", "hosts4"); !strings.Contains(saw, ip) {
			t.Errorf("%s is not let in when the backend hears of it:\n%s", ip, saw)
		}
	}
}

// Docker with its own nftables drops what has no mark.
func TestMarksForDockerStayOverARestart(t *testing.T) {
	l := newLab(t)
	l.nft("add", "table", "ip", "docker-bridges")
	for _, run := range []string{"first", "second"} {
		l.admit(l.firewall(Policy{Docker: true}), tunnelIngress, planeOf("192.0.2.2"))
		if saw := l.nft("list", "table", "inet", "flanneld"); !strings.Contains(saw, "meta mark set") {
			t.Errorf("nothing is marked when the %s run hears of peers, before its pass:\n%s", run, saw)
		}
	}
}

func TestErrorsOfTheFilterHaveARemedy(t *testing.T) {
	f := newFirewall(Policy{}, "", nil, math.MaxInt32, discard) // no such descriptor
	if _, err := f.filter.pass(false); err == nil || !strings.Contains(err.Error(), "--peer-filter=off") {
		t.Errorf("error is %v, want one with the remedy", err)
	}
}

// A host that is short of descriptors has nftables and iptables all the same: neither is
// the other used in its place, nor everybody let in.
func TestShortOfDescriptorsIsNotWithoutAFirewall(t *testing.T) {
	for _, missing := range []string{"nftables", "iptables"} {
		t.Run(missing, func(t *testing.T) {
			var f *Firewall
			short := &fs.PathError{Op: "fork/exec", Path: "/sbin/iptables", Err: unix.EMFILE}
			if missing == "nftables" {
				none := func(context.Context, string, string, ...string) (string, error) { return "", exec.ErrNotFound }
				f = newFirewall(Policy{}, "", none, math.MaxInt32, discard) // no such descriptor
				if err := f.Admit(t.Context(), planeOf("192.0.2.2"), []backend.Ingress{tunnelIngress}); err == nil {
					t.Error("a filter that cannot be made is no error")
				}
			} else {
				f = newLab(t).firewall(Policy{Masquerade: true})
				f.rules.run = func(context.Context, string, string, ...string) (string, error) { return "", short }
				f.filter.overlays = overlaysOf(tunnelIngress, planeOf("192.0.2.2"))
			}
			if r := f.pass(t.Context()); r.Err == nil || missing == "iptables" && !errors.Is(r.Err, unix.EMFILE) {
				t.Errorf("a pass has error %v, want the reason", r.Err)
			}
			if tools := f.rules.tools; !tools.chosen.IsZero() {
				t.Errorf("the tools are taken for %+v", tools)
			}
		})
	}
}

// Nobody has changed rules when it is other ones that are wanted.
func TestOnlyWhatOthersChangedIsARepair(t *testing.T) {
	l := newLab(t)
	f := l.firewall(Policy{})
	look := func(what string, repair bool) {
		t.Helper()
		changes, err := f.filter.pass(false)
		if err != nil {
			t.Fatal(err)
		}
		if (len(changes) > 0) != repair {
			t.Errorf("%s: repairs are %q", what, changes)
		}
	}
	f.filter.overlays = overlaysOf(tunnelIngress, planeOf("192.0.2.2"))
	look("at the start", false)
	f.filter.overlays = overlaysOf(tunnelIngress, planeOf("192.0.2.2", "192.0.2.3"))
	look("another peer", false)
	l.nft("delete", "element", "inet", "flanneld", "hosts4", "{ 192.0.2.3 }")
	look("a peer taken out", true)
	l.nft("delete", "table", "inet", "flanneld")
	look("all taken out", true)
	f.filter.policy.Filter = off
	look("off", false)
}

func overlaysOf(in backend.Ingress, planes []backend.Plane) (all []overlay) {
	for _, p := range planes {
		all = append(all, overlay{family{p.Network, p.Subnet, in, "eth0"}, p.Peers, p.Partial})
	}
	return all
}

// A host whose --etcd-prefix changes would keep out all peers that join from then on.
func TestFiltersOfAnotherPrefixDoNotStay(t *testing.T) {
	for name, ingress := range map[string]backend.Ingress{"vxlan": tunnelIngress, "host-gw": {Direct: true}} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			other := tunnelIngress
			other.VNI++
			for prefix, ingress := range map[string]backend.Ingress{"/before": ingress, "/beside": other, "": ingress} {
				planes := planeOf("192.0.2.2")
				if prefix == "/beside" {
					planes[0].Network, planes[0].Subnet = netip.MustParsePrefix("10.2.0.0/16"), netip.MustParsePrefix("10.2.1.0/24")
				}
				l.admit(l.firewall(Policy{Prefix: prefix}), ingress, planes)
			}
			f := l.firewall(Policy{})
			l.admit(f, ingress, planeOf("192.0.2.2", "192.0.2.3"))
			if _, err := f.filter.pass(true); err != nil {
				t.Fatal(err)
			}
			out := l.nft("list", "tables")
			for prefix, stays := range map[string]bool{"/before": false, "/beside": true, "": true} {
				if strings.Contains(out, namesFor(prefix).filter().String()+"\n") != stays {
					t.Errorf("the filter of %s stays: want %t\n%s", prefix, stays, out)
				}
			}
		})
	}
}

// A connection that begins while nothing masquerades stays as it is for as long as it
// lasts.
func TestMasqueradingMovesWithoutAGap(t *testing.T) {
	l := newLab(t)
	masquerades := func() bool {
		saved, err := l.host.Output("iptables-save")
		return strings.Contains(l.nft("list", "ruleset"), "masquerade") || err == nil && strings.Contains(saved, "MASQUERADE")
	}
	for _, nftables := range []bool{false, true, false} {
		there := masquerades()
		f := l.firewall(Policy{Filter: off, Masquerade: true, NFTables: nftables})
		f.rules.run = func(ctx context.Context, stdin, program string, arg ...string) (string, error) {
			out, err := l.run(ctx, stdin, program, arg...)
			if there && !masquerades() {
				t.Errorf("EnableNFTables=%t: nothing masquerades after %s\n%s", nftables, program, stdin)
			}
			return out, err
		}
		l.admit(f, tunnelIngress, planeOf("192.0.2.2"))
		if r := f.pass(t.Context()); r.Err != nil {
			t.Fatal(r.Err)
		}
		if !masquerades() {
			t.Errorf("EnableNFTables=%t: nothing masquerades", nftables)
		}
	}
}

// Passes that put back what others removed are repairs; those for another overlay are
// not. Each is the firewall in place.
func TestRunRepairs(t *testing.T) {
	l := newLab(t)
	f := l.firewall(Policy{Forward: true})
	if r := f.pass(t.Context()); !r.Idle {
		t.Errorf("before Admit a pass is %+v, want an idle one", r)
	}
	l.admit(f, tunnelIngress, planeOf("192.0.2.2"))
	if f.InPlace() {
		t.Error("all is in place before a pass")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	first := wake.New()
	f.Subscribe(first)
	go func() { ended <- f.Run(ctx) }()
	select {
	case <-first:
	case <-time.After(10 * time.Second):
		t.Fatal("no pass puts all in place")
	}
	cancel()
	if err := <-ended; err != nil || !f.InPlace() {
		t.Errorf("Run() = %v, in place: %t", err, f.InPlace())
	}
	if r := f.pass(t.Context()); r.Err != nil || r.Repairs != 0 {
		t.Errorf("a second pass is %+v, want one that changes nothing", r)
	}
	l.nft("delete", "table", "inet", "flanneld")
	if r := f.pass(t.Context()); r.Err != nil || r.Repairs == 0 {
		t.Errorf("after a removal a pass is %+v, want repairs", r)
	}
	// Whoever hears of a peer first makes the table again, and the pass after it tells.
	for what, peers := range map[string][]string{"the same peers": {"192.0.2.2"}, "another peer": {"192.0.2.2", "192.0.2.3"}} {
		l.nft("delete", "table", "inet", "flanneld")
		l.admit(f, tunnelIngress, planeOf(peers...))
		select {
		case <-f.wake:
		default:
			t.Errorf("%s: no pass is due", what)
		}
		if r := f.pass(t.Context()); r.Err != nil || r.Repairs != 1 || !strings.Contains(fmt.Sprint(r.First), "add table") {
			t.Errorf("%s after a removal: a pass is %+v, want a repair", what, r)
		}
		if r := f.pass(t.Context()); r.Err != nil || r.Repairs != 0 {
			t.Errorf("%s: a second pass is %+v, want one that changes nothing", what, r)
		}
	}
	wider := tunnelIngress
	wider.VNI++
	l.admit(f, wider, planeOf("192.0.2.2"))
	l.nft("delete", "table", "inet", "flanneld")
	if r := f.pass(t.Context()); r.Err != nil || r.Repairs != 0 {
		t.Errorf("for another overlay a pass is %+v, want no repairs", r)
	}
}

func TestRulesThatCannotBeMadeAreSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		passes := 0
		broken := func(_ context.Context, _, _ string, arg ...string) (string, error) {
			if len(arg) == 1 && arg[0] == "--version" {
				passes++
				return "what?", nil
			}
			return "", errors.New("no room")
		}
		log := slog.New(slog.NewTextHandler(&out, nil))
		f := newFirewall(Policy{Filter: off, Masquerade: true}, "", broken, math.MaxInt32, log)
		f.filter.overlays = overlaysOf(tunnelIngress, planeOf())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := f.Run(ctx); err != nil {
			t.Error(err)
		}
		if n := strings.Count(out.String(), "\n"); n != 2 || passes < 3 {
			t.Errorf("%d passes that fail are said in %d lines, want 2:\n%s", passes, n, out.String())
		}
	})
}

// A host without the privilege has no rules, and waits for none.
func TestADisabledFirewallIsInPlace(t *testing.T) {
	f := newFirewall(Policy{}, "", nil, math.MaxInt32, discard)
	f.Disable(errors.New("no privilege"))
	if err := f.Admit(t.Context(), planeOf("192.0.2.2"), []backend.Ingress{tunnelIngress}); err != nil || !f.InPlace() {
		t.Errorf("Admit() = %v, in place: %t", err, f.InPlace())
	}
	if r := f.pass(t.Context()); !r.Idle {
		t.Errorf("a pass is %+v, want an idle one", r)
	}
}

// A pass that another overlay has asked for makes the rules of that one: it does not come
// before the overlay is known, and nobody would ask again.
func TestAPassForAnotherOverlayKnowsIt(t *testing.T) {
	l := newLab(t)
	f := l.firewall(Policy{Filter: off})
	seen := make(chan []family)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // in place of Run; it is never asleep when it is woken
		for {
			select {
			case <-stop:
				return
			case <-f.wake:
				seen <- f.filter.families()
			default:
				runtime.Gosched()
			}
		}
	}()
	for i := range 1000 {
		in := tunnelIngress
		in.VNI = uint32(i + 1)
		l.admit(f, in, planeOf("192.0.2.2"))
		select {
		case got := <-seen:
			if len(got) != 1 || got[0].ingress != in {
				t.Fatalf("pass %d is for %v, want %v", i, got, in)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("overlay %d asks for no pass", i)
		}
	}
}
