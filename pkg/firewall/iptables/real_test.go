package iptables

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"flanneld/pkg/firewall"
	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
)

// host is a network namespace with both flavours of iptables.
type host struct {
	*testing.T
	ns  netlab.Namespace
	ran []string // programs, with their arguments
}

func newHost(t *testing.T) *host {
	t.Helper()
	for _, program := range []string{"iptables-legacy-restore", "iptables-nft-restore"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed (Debian: iptables)")
		}
	}
	lab := labtest.New(t)
	return &host{T: t, ns: lab.Switch().Namespace}
}

func (h *host) run(ctx context.Context, stdin, program string, arg ...string) (string, error) {
	h.ran = append(h.ran, program+" "+strings.Join(arg, " "))
	cmd := h.ns.Command(ctx, program, arg...)
	return Exec(ctx, stdin, cmd.Args[0], cmd.Args[1:]...)
}

// sh runs lines of a shell script.
func (h *host) sh(script string) {
	h.Helper()
	if err := h.ns.Run("sh", "-ec", script); err != nil {
		h.Fatal(err)
	}
}

func (h *host) apply(t Tables, want Want) []Edit {
	h.Helper()
	edits, err := t.Apply(h.Context(), want, owner)
	if err != nil {
		h.Fatal(err)
	}
	return edits
}

// rules returns what iptables-save prints, without its comments.
func (h *host) rules(t Tables) string {
	h.Helper()
	out, err := h.ns.Output(t.Flavour.program(t.family(), "-save"))
	if err != nil {
		h.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// each runs a test with both flavours.
func each(t *testing.T, f func(*host, Tables)) {
	for _, flavour := range []Flavour{
		{Infix: "-legacy", Version: Version{1, 8, 9}}, {Infix: "-nft", NFT: true, Version: Version{1, 8, 9}},
	} {
		t.Run(flavour.String(), func(t *testing.T) {
			h := newHost(t)
			f(h, Tables{Run: h.run, Flavour: flavour})
		})
	}
}

func TestApplyIsIdempotent(t *testing.T) {
	labtest.Native(t)
	each(t, func(h *host, tables Tables) {
		if edits := h.apply(tables, wanted()); len(edits) == 0 {
			h.Fatal("nothing was changed")
		}
		h.ran = nil
		if edits := h.apply(tables, wanted()); len(edits) > 0 {
			h.Errorf("the second time there was to change %q", edits)
		}
		if len(h.ran) != 1 || !strings.Contains(h.ran[0], "-save") {
			h.Errorf("it took %q, want one iptables-save", h.ran)
		}
		h.apply(tables, Want{})
		if out := h.rules(tables); strings.Contains(out, "lab") || strings.Contains(out, "LAB") {
			h.Errorf("left of it:\n%s", out)
		}
	})
}

func TestApplyReadsWithoutMakingTables(t *testing.T) {
	labtest.Native(t)
	each(t, func(h *host, tables Tables) {
		h.apply(tables, Want{})
		if out := h.rules(tables); out != "" {
			h.Errorf("tables after nothing was wanted:\n%s", out)
		}
	})
}

func TestApplyIPv6(t *testing.T) {
	labtest.Native(t)
	each(t, func(h *host, tables Tables) {
		tables.V6 = true
		network, own := prefix("fd00:5::/48"), prefix("fd00:5:0:1::/64")
		want := Want{
			Chains: []Chain{
				{"nat", "LAB-POST", firewall.Commented("lab", firewall.Postrouting(network, own, firewall.RandomFully))},
				{"filter", "LAB-FWD", firewall.Commented("lab", firewall.Forward(network))},
			},
			Inserts: []Insert{{"nat", "POSTROUTING", jump("LAB-POST"), false, ""}, {"filter", "FORWARD", jump("LAB-FWD"), false, ""}},
		}
		h.apply(tables, want)
		if edits := h.apply(tables, want); len(edits) > 0 {
			h.Errorf("the second time there was to change %q", edits)
		}
	})
}

// TestApplyRepairs what others do, and leaves what is theirs.
func TestApplyRepairs(t *testing.T) {
	labtest.Native(t)
	each(t, func(h *host, tables Tables) {
		p := "iptables" + tables.Flavour.Infix
		h.sh(strings.ReplaceAll(`IPT -P FORWARD DROP
IPT -N OTHER
IPT -A OTHER -p tcp --dport 22 -j ACCEPT
IPT -A FORWARD -s 10.9.0.0/16 -m comment --comment "somebody's rule" -j OTHER
IPT -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
IPT -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE`, "IPT", p))
		before := h.rules(tables)
		h.apply(tables, wanted())
		settled := h.rules(tables)
		for name, script := range map[string]string{
			"flush a chain of ours":       "IPT -t nat -F LAB-POST",
			"a rule of ours is gone":      "IPT -D LAB-FWD 1",
			"order within a chain":        "IPT -D LAB-FWD 1; IPT -A LAB-FWD -s 10.5.0.0/16 -m comment --comment lab -j ACCEPT",
			"a rule too many":             "IPT -I LAB-FWD -j DROP",
			"the jump is gone":            "IPT -D FORWARD -m comment --comment lab -j LAB-FWD",
			"the jump is there twice":     "IPT -A FORWARD -m comment --comment lab -j LAB-FWD",
			"chains and jumps are gone":   "IPT -t nat -D POSTROUTING -m comment --comment lab -j LAB-POST; IPT -t nat -F LAB-POST; IPT -t nat -X LAB-POST",
			"left-over of an old release": "IPT -t nat -A POSTROUTING -s 10.5.0.0/16 -d 10.5.0.0/16 -j RETURN; IPT -t nat -A POSTROUTING ! -s 10.5.0.0/16 -d 10.5.0.0/16 -j MASQUERADE",
			"of an earlier subnet":        `IPT -t raw -I PREROUTING -d 10.5.8.0/24 -i tun0 -m comment --comment "lab direct" -j ACCEPT`,
		} {
			h.sh(strings.ReplaceAll(script, "IPT", p))
			h.apply(tables, wanted())
			if d := cmp.Diff(settled, h.rules(tables)); d != "" {
				h.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
		h.apply(tables, Want{})
		after := h.rules(tables)
		if _, rest, ok := strings.Cut(after, "*raw\n"); ok { // an empty table of ours
			raw, _, _ := strings.Cut(rest, "COMMIT\n")
			after = strings.Replace(after, "*raw\n"+raw+"COMMIT\n", "", 1)
		}
		if d := cmp.Diff(blocks(before), blocks(after)); d != "" {
			h.Errorf("others' rules (-before +after):\n%s", d)
		}
	})
}

// TestApplyPlaces: ahead of what ends every packet's way, behind the rest.
func TestApplyPlaces(t *testing.T) {
	labtest.Native(t)
	each(t, func(h *host, tables Tables) {
		p := "iptables" + tables.Flavour.Infix
		h.apply(tables, wanted())
		h.sh(strings.ReplaceAll(`IPT -I FORWARD -j REJECT
IPT -I FORWARD -s 10.9.0.0/16 -j DROP
IPT -t raw -I PREROUTING -d 10.5.1.2/32 ! -i docker0 -j DROP
IPT -t raw -I PREROUTING -d 10.9.1.2/32 ! -i docker0 -j DROP
IPT -N DOCKER-USER
IPT -A DOCKER-USER -s 10.8.0.0/16 -j DROP
IPT -A DOCKER-USER -j RETURN`, "IPT", p))
		h.apply(tables, wanted())
		out := h.rules(tables)
		for _, want := range []string{
			"-A FORWARD -s 10.9.0.0/16 -j DROP\n-A FORWARD -m comment --comment lab -j LAB-FWD\n-A FORWARD -j REJECT",
			"-A PREROUTING -d 10.9.1.2/32 ! -i docker0 -j DROP\n-A PREROUTING -d 10.5.1.0/24 -i tun0 -m comment --comment \"lab direct\" -j ACCEPT\n-A PREROUTING -d 10.5.1.2/32",
			"-A DOCKER-USER -s 10.8.0.0/16 -j DROP\n-A DOCKER-USER -d 10.5.1.0/24 -i tun0 -m comment --comment \"lab direct\" -j ACCEPT\n-A DOCKER-USER -j RETURN",
		} {
			if !strings.Contains(out, want) {
				h.Errorf("there is no\n%s\nin\n%s", want, out)
			}
		}
		if edits := h.apply(tables, wanted()); len(edits) > 0 {
			h.Errorf("then there was to change %q", edits)
		}
	})
}

// TestApplyIsAtomic: a table that cannot be changed whole is not changed at all.
func TestApplyIsAtomic(t *testing.T) {
	labtest.Native(t)
	each(t, func(h *host, tables Tables) {
		want := wanted()
		want.Chains[0].Rules = append(want.Chains[0].Rules, firewall.Rule{Target: "NO-SUCH-TARGET"})
		want.Inserts, want.Chains = want.Inserts[:1], want.Chains[:1]
		if _, err := tables.Apply(h.Context(), want, owner); err == nil || !strings.Contains(err.Error(), "NO-SUCH-TARGET") {
			h.Errorf("error is %v, want one that names the rule", err)
		}
		if out := h.rules(tables); strings.Contains(out, "LAB") {
			h.Errorf("half of it is there:\n%s", out)
		}
	})
}

// TestApplyGoesOnWithoutATable that is optional, and with the others where one
// fails.
func TestApplyGoesOnWithoutATable(t *testing.T) {
	labtest.Native(t)
	h := newHost(t)
	missing := func(ctx context.Context, stdin, program string, arg ...string) (string, error) {
		if strings.HasPrefix(stdin, "*raw") {
			return "", errors.New("iptables-restore: can't initialize iptables table `raw': Table does not exist")
		}
		return h.run(ctx, stdin, program, arg...)
	}
	tables := Tables{Run: missing, Flavour: Flavour{Infix: "-nft", NFT: true, Version: Version{1, 8, 9}}}
	want := wanted()
	if _, err := tables.Apply(t.Context(), want, owner); err == nil || !strings.Contains(err.Error(), "-t raw") {
		t.Errorf("error is %v, want one about raw", err)
	}
	if out := h.rules(tables); !strings.Contains(out, "LAB-FWD") || !strings.Contains(out, "LAB-POST") {
		t.Errorf("other tables are not as wanted:\n%s", out)
	}
	want.Optional = []string{"raw"}
	if _, err := tables.Apply(t.Context(), want, owner); err != nil {
		t.Error(err)
	}
}

// TestApplyGoesOnWithoutATableOfTheKernel has iptables-restore itself say so.
func TestApplyGoesOnWithoutATableOfTheKernel(t *testing.T) {
	labtest.Native(t)
	h := newHost(t)
	tables := Tables{Run: h.run, Flavour: Flavour{Infix: "-legacy", Version: Version{1, 8, 9}}}
	want := wanted()
	want.Inserts = append(want.Inserts, Insert{Table: "absent", Chain: "PREROUTING", Rule: firewall.Rule{Comment: "lab docker", Target: firewall.Accept}})
	if _, err := tables.Apply(t.Context(), want, owner); err == nil || !strings.Contains(err.Error(), "-t absent") {
		t.Errorf("error is %v, want one about the table", err)
	}
	want.Optional = []string{"absent"}
	if _, err := tables.Apply(t.Context(), want, owner); err != nil {
		t.Error(err)
	}
}

// TestApplyLeavesWhatItCannotRead: iptables-save shows nothing of a table with rules that
// only nft(8) can tell, and what was made would be made again each time.
func TestApplyLeavesWhatItCannotRead(t *testing.T) {
	labtest.Native(t)
	h := newHost(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed (Debian: nftables)")
	}
	tables := Tables{Run: h.run, Flavour: Flavour{Infix: "-nft", NFT: true, Version: Version{1, 8, 9}}}
	h.sh("iptables-nft -A FORWARD -s 192.0.2.1 -j DROP; nft add rule ip filter FORWARD meta mark 0x3 ct mark set 0x5")
	for range 2 {
		if _, err := tables.Apply(t.Context(), wanted(), owner); err == nil || !strings.Contains(err.Error(), "table filter has rules") {
			t.Errorf("error is %v, want one that names the table", err)
		}
	}
	out, err := h.ns.Output("nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "LAB-FWD") || !strings.Contains(out, "jump LAB-POST") {
		t.Errorf("rules in the table that cannot be read, or none in the others:\n%s", out)
	}
	if _, err := tables.Apply(t.Context(), Want{}, owner); err != nil {
		t.Errorf("nothing wanted: %v", err)
	}
}

// TestApplyWithOddInterfaces: the kernel allows all in a name but blanks, slashes and
// colons, and iptables-save quotes none of it.
func TestApplyWithOddInterfaces(t *testing.T) {
	labtest.Native(t)
	each(t, func(h *host, tables Tables) {
		var want Want
		for _, name := range []string{`we"ird`, `it's`, `back\slash`, `#1`, `a;b`, `$HOME`, `!not`} {
			rule := firewall.Rule{In: firewall.Iface{Name: name}, Comment: "lab direct", Target: firewall.Accept}
			want.Inserts = append(want.Inserts, Insert{Table: "filter", Chain: "FORWARD", Rule: rule})
		}
		for try := range 2 {
			if edits := h.apply(tables, want); (len(edits) > 0) != (try == 0) {
				h.Errorf("try %d: edits are %q", try+1, edits)
			}
		}
		h.sh(tables.Flavour.program("iptables", "") + " -I FORWARD -j DROP") // they move ahead of it
		h.apply(tables, want)
		if edits := h.apply(tables, want); len(edits) > 0 {
			h.Errorf("moved, but there is more: %q", edits)
		}
		h.apply(tables, Want{})
		if out := h.rules(tables); strings.Contains(out, "lab direct") {
			h.Errorf("left of it:\n%s", out)
		}
	})
}

func TestChooseFollowsWhoIsThere(t *testing.T) {
	labtest.Native(t)
	h := newHost(t)
	first, err := Choose(h.Context(), h.run, "DOCKER-USER")
	if err != nil || len(first) != 2 || first[0].NFT == first[1].NFT {
		t.Fatalf("Choose() = %v, %v, want two flavours", first, err)
	}
	h.sh("iptables" + first[1].Infix + " -N DOCKER-USER")
	if all, err := Choose(h.Context(), h.run, "DOCKER-USER"); err != nil || all[0] != first[1] || all[1] != first[0] {
		t.Errorf("with chains in %s: Choose() = %v, %v", first[1], all, err)
	}
	h.sh("iptables -N DOCKER-USER")
	if all, err := Choose(h.Context(), h.run, "DOCKER-USER"); err != nil || all[0] != first[0] {
		t.Errorf("with chains in both: Choose() = %v, %v, want %v first", all, err, first[0])
	}
}

func TestChooseWithoutIptables(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Choose(t.Context(), Exec); !errors.Is(err, ErrNone) || !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("error is %v, want ErrNone", err)
	}
}

// TestApplyWaitsForTheLock that another program has. All namespaces share it. Before
// 1.6.2 iptables-restore itself did not.
func TestApplyWaitsForTheLock(t *testing.T) {
	labtest.Native(t)
	for _, version := range []Version{{1, 8, 9}, {1, 4, 21}} {
		h := newHost(t)
		if version == (Version{1, 4, 21}) {
			t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "unused"))
		}
		f, err := os.OpenFile(lockFile, os.O_CREATE|os.O_RDONLY, 0o600)
		if err != nil {
			t.Skip(err)
		}
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		const held = 500 * time.Millisecond
		start := time.Now()
		time.AfterFunc(held, func() { _ = f.Close() })
		h.apply(Tables{Run: h.run, Flavour: Flavour{Infix: "-legacy", Version: version}}, wanted())
		if took := time.Since(start); took < held {
			t.Errorf("%v: it took %s, while the lock was held for %s", version, took, held)
		}
	}
}

// TestTheLockIsWaitedForWithABound by what takes it for an older iptables-restore.
func TestTheLockIsWaitedForWithABound(t *testing.T) {
	labtest.Native(t)
	h := newHost(t)
	path := filepath.Join(t.TempDir(), "lock")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context, stdin, program string, arg ...string) (string, error) {
		if program == "flock" {
			arg = append([]string{"-w", "0.1", path}, arg[3:]...)
		}
		return h.run(ctx, stdin, program, arg...)
	}
	tables := Tables{Run: run, Flavour: Flavour{Infix: "-legacy", Version: Version{1, 4, 21}}}
	if _, err := tables.Apply(t.Context(), wanted(), owner); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v, want one that names the file", err)
	}
}

// blocks cuts what iptables-save prints into its tables.
func blocks(saved string) map[string]string {
	all := make(map[string]string)
	for block := range strings.SplitSeq(saved, "COMMIT\n") {
		name, rest, _ := strings.Cut(block, "\n")
		if name != "" {
			all[name] = rest
		}
	}
	return all
}

func BenchmarkApplyNothing(b *testing.B) {
	for _, infix := range []string{"-legacy", "-nft"} {
		b.Run(infix[1:], func(b *testing.B) {
			lab, err := netlab.New()
			if err != nil {
				b.Skip(err)
			}
			defer lab.Close()
			h := &host{ns: lab.Switch().Namespace}
			tables := Tables{Run: h.run, Flavour: Flavour{Infix: infix, Version: Version{1, 8, 9}}}
			for b.Loop() {
				if _, err := tables.Apply(b.Context(), wanted(), owner); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
