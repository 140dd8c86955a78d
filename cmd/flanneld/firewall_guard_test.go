package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netns"

	"flanneld/backend"
	"flanneld/cmd/internal/host"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
	"flanneld/subnet"
)

// guardLab is a host of a lab for guards.
type guardLab struct {
	*testing.T
	host  netlab.Namespace
	netns int
}

func newGuardLab(t *testing.T) guardLab {
	t.Helper()
	for _, program := range []string{"iptables-nft-restore", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed (Debian: iptables, nftables)")
		}
	}
	lab := labtest.New(t)
	ns, err := netns.GetFromName(lab.Switch().Namespace.Namespace())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return guardLab{t, lab.Switch().Namespace, int(ns)}
}

func (l guardLab) guard(o options, nftables bool) *guard {
	if o.EtcdPrefix == "" {
		o.EtcdPrefix = defaultPrefix
	}
	g := newGuard(o, nftables, backend.Underlay{Name: "eth0"}, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, host.SubnetEnv{}, discard)
	g.kernel.NetNS = l.netns
	g.run = l.run
	return g
}

func (l guardLab) run(ctx context.Context, stdin, program string, arg ...string) (string, error) {
	return iptables.Finish(ctx, stdin, func(ctx context.Context) *exec.Cmd { return l.host.Command(ctx, program, arg...) })
}

func (l guardLab) nft(arg ...string) string {
	l.Helper()
	out, err := l.host.Output("nft", arg...)
	if err != nil {
		l.Fatal(err)
	}
	return out
}

var tunnelIngress = backend.Ingress{Device: "flannel.1", Port: 8472, VNI: 1}

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

// Docker with its own nftables drops what has no mark.
func TestMarksForDockerStayOverARestart(t *testing.T) {
	l := newGuardLab(t)
	l.nft("add", "table", "ip", "docker-bridges")
	be := &looking{ingress: tunnelIngress, look: func() string { return l.nft("list", "table", "inet", "flanneld") }}
	for _, run := range []string{"first", "second"} {
		g := l.guard(options{PeerFilter: true, DockerFirewall: true}, false)
		if err := be.admit(t.Context(), g, planeOf("192.0.2.2")); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(be.saw, "meta mark set") {
			t.Errorf("nothing is marked when the %s run hears of peers, before its pass:\n%s", run, be.saw)
		}
	}
}

func TestErrorsOfTheFilterHaveARemedy(t *testing.T) {
	g := newGuard(options{PeerFilter: true}, false, backend.Underlay{}, nil, host.SubnetEnv{}, discard)
	g.kernel.NetNS = math.MaxInt32 // no such descriptor
	if _, _, _, err := g.filter(nil); err == nil || !strings.Contains(err.Error(), "--peer-filter=off") {
		t.Errorf("error is %v, want one with the remedy", err)
	}
}

// Nobody has changed rules when it is other ones that are wanted.
func TestOnlyWhatOthersChangedIsARepair(t *testing.T) {
	l := newGuardLab(t)
	g := l.guard(options{PeerFilter: true}, false)
	g.tools.nftables = true
	look := func(what string, repair bool) {
		t.Helper()
		changes, err := g.passFilter(t.Context(), nil, ruleSwitches{})
		if err != nil {
			t.Fatal(err)
		}
		if (len(changes) > 0) != repair {
			t.Errorf("%s: repairs are %q", what, changes)
		}
	}
	be := []backend.Ingress{tunnelIngress}
	g.update(planeOf("192.0.2.2"), be)
	look("at the start", false)
	g.update(planeOf("192.0.2.2", "192.0.2.3"), be)
	look("another peer", false)
	l.nft("delete", "element", "inet", "flanneld", "hosts4", "{ 192.0.2.3 }")
	look("a peer taken out", true)
	l.nft("delete", "table", "inet", "flanneld")
	look("all taken out", true)
	g.opts.PeerFilter = false
	look("off", false)
}

// A host whose --etcd-prefix changes would keep out all peers that join from then on.
func TestFiltersOfAnotherPrefixDoNotStay(t *testing.T) {
	for name, ingress := range map[string]backend.Ingress{"vxlan": tunnelIngress, "host-gw": {Direct: true}} {
		t.Run(name, func(t *testing.T) {
			l := newGuardLab(t)
			other := tunnelIngress
			other.VNI++
			for prefix, ingress := range map[string]backend.Ingress{"/before": ingress, "/beside": other, "": ingress} {
				g := l.guard(options{EtcdPrefix: prefix, PeerFilter: true}, false)
				g.update(planeOf("192.0.2.2"), []backend.Ingress{ingress})
				if _, _, _, err := g.filter(nil); err != nil {
					t.Fatal(err)
				}
			}
			g := l.guard(options{PeerFilter: true}, false)
			g.tools.nftables = true
			g.update(planeOf("192.0.2.2", "192.0.2.3"), []backend.Ingress{ingress})
			if _, err := g.passFilter(t.Context(), g.known(), ruleSwitches{}); err != nil {
				t.Fatal(err)
			}
			out := l.nft("list", "tables")
			for prefix, stays := range map[string]bool{"/before": false, "/beside": true, defaultPrefix: true} {
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
	l := newGuardLab(t)
	masquerades := func() bool {
		saved, err := l.host.Output("iptables-save")
		return strings.Contains(l.nft("list", "ruleset"), "masquerade") || err == nil && strings.Contains(saved, "MASQUERADE")
	}
	for _, nftables := range []bool{false, true, false} {
		there := masquerades()
		g := l.guard(options{IPMasq: true}, nftables)
		g.run = func(ctx context.Context, stdin, program string, arg ...string) (string, error) {
			out, err := l.run(ctx, stdin, program, arg...)
			if there && !masquerades() {
				t.Errorf("EnableNFTables=%t: nothing masquerades after %s\n%s", nftables, program, stdin)
			}
			return out, err
		}
		g.update(planeOf("192.0.2.2"), []backend.Ingress{tunnelIngress})
		if _, err := g.pass(t.Context(), g.known()); err != nil {
			t.Fatal(err)
		}
		if !masquerades() {
			t.Errorf("EnableNFTables=%t: nothing masquerades", nftables)
		}
	}
}

func TestRulesThatCannotBeMadeAreSaidOnce(t *testing.T) {
	var out bytes.Buffer
	g := newGuard(options{IPMasq: true}, false, backend.Underlay{}, nil, host.SubnetEnv{}, slog.New(slog.NewTextHandler(&out, nil)))
	for range 3 {
		g.report(nil, nil, errors.New("no room"))
	}
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("three passes that fail are said in %d lines, want 2:\n%s", n, out.String())
	}
}
