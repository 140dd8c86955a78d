package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"flanneld/backend/firewall"
	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/status"
	rules "flanneld/pkg/firewall"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
	"flanneld/pkg/smallfile"
)

// passage is what has to pass the packet filter.
type passage struct {
	network, own netip.Prefix
	links        []string // by which its packets come in or leave
	forward      bool     // the daemon makes rules for FORWARD
	docker       bool     // and among Docker's
}

// trouble is a rule in the way, or one that is missing.
type trouble struct{ saw, mend string }

// lookFirewall looks for rules that drop the overlay's packets before its own accept them.
func lookFirewall(ctx context.Context, h *Host) Result {
	w, err := h.want(ctx)
	if err != nil {
		return skip("what passes the firewall cannot be told: %v", err)
	}
	p := passage{network: w.planes[0].Network, own: w.planes[0].Subnet, links: append(w.entrances(), h.Options.DockerBridge),
		forward: h.Options.ForwardRules, docker: h.Options.DockerFirewall}
	again := "systemctl start flanneld   # makes its rules"
	if h.alive() {
		again = "systemctl restart flanneld   # makes its rules again"
	}
	var all []trouble
	if f := h.Status.Firewall; h.alive() && f.State == status.Failing {
		all = append(all, trouble{"flanneld cannot keep its rules: " + f.Reason, "journalctl -u flanneld -n 50 --no-pager"})
	}
	flavours, err := iptables.Choose(ctx, iptables.Exec)
	if err != nil && !errors.Is(err, iptables.ErrNone) {
		return skip("%v", err)
	}
	for _, f := range flavours {
		program := "iptables" + f.Infix
		saved, err := iptables.Exec(ctx, "", program+"-save")
		if err != nil {
			continue // the kernel may be without its tables
		}
		for _, t := range p.inspect(saved, program) {
			if t.mend == "" {
				t.mend = again
			}
			all = append(all, t)
		}
	}
	if t, bad := dockerTables(); bad && p.docker {
		all = append(all, t)
	}
	if len(all) == 0 {
		return p.looksOpen(w.plan.Ingress[0].Device)
	}
	r := fail("%s", all[0].saw)
	for i, t := range all {
		if i > 0 {
			r = r.with(t.saw)
		}
		if !slices.Contains(r.Remedy, t.mend) {
			r = r.mend(t.mend)
		}
	}
	return r
}

// looksOpen looks for chains of nftables, such as firewalld's, that drop what nobody has opened.
func (p passage) looksOpen(device string) Result {
	var kernel nft.Kernel
	var closed []string
	if device != "" { // without one the underlay's interface is named for many reasons
		closed, _ = nft.Closed(&kernel, nft.Forward, []string{device}) // a kernel without nftables has none
	}
	if len(closed) == 0 {
		return pass("no rule drops what the overlay's rules accept")
	}
	return warn("the chain %s of nftables drops what it does not accept, and nothing there names %s", closed[0], device).with(closed[1:]...).
		mend("firewall-cmd --permanent --zone=trusted --add-interface="+device+" && firewall-cmd --reload   # firewalld's (docs/firewall.md)",
			"nft list table "+closed[0][:strings.LastIndex(closed[0], " ")]+"   # others': let it accept "+device)
}

// inspect looks at what iptables-save prints. A trouble without a remedy is mended by the
// daemon.
func (p passage) inspect(saved, program string) (all []trouble) {
	set := iptables.Parse(saved)
	filter := set["filter"]
	ours := func(r rules.Rule) bool { return firewall.Jump(r.Target) || firewall.ForDocker(r.Comment) }
	for _, name := range []string{"FORWARD", "DOCKER-USER"} {
		if name == "DOCKER-USER" && !p.comesFirst(filter["FORWARD"], name) {
			continue
		}
		for i, e := range filter[name] {
			if ours(e.Rule) {
				break
			}
			if p.stops(e.Rule) {
				all = append(all, trouble{fmt.Sprintf("%s: rule %d of %s drops packets of the overlay: %s", program, i+1, name, e.Text),
					fmt.Sprintf("%s -D %s %d   # or put one that accepts %s before it", program, name, i+1, p.network)})
			}
		}
	}
	closed := strings.Contains(saved, "\n:FORWARD DROP ")
	jumps := slices.ContainsFunc(filter["FORWARD"], func(e iptables.Entry) bool { return firewall.Jump(e.Rule.Target) })
	switch {
	case closed && !jumps && p.forward:
		all = append(all, trouble{program + ": the policy of FORWARD is DROP, and the overlay's rules are not there", ""})
	case closed && !jumps:
		all = append(all, trouble{program + ": the policy of FORWARD is DROP, and flanneld is to make no rules", "# start flanneld without --iptables-forward-rules=false"})
	}
	for i, e := range set["raw"]["PREROUTING"] {
		if firewall.ForDocker(e.Rule.Comment) {
			break
		}
		if e.Rule.Target != rules.Drop || !e.Rule.Dst.Prefix.IsValid() || e.Rule.Dst.Not || !p.own.Overlaps(e.Rule.Dst.Prefix) || !e.Rule.In.Not {
			continue
		}
		t := trouble{fmt.Sprintf("%s: Docker (28 or later) drops what comes to a container from the overlay, by rule %d of raw PREROUTING: %s", program, i+1, e.Text), ""}
		if !p.docker {
			t.mend = "# start flanneld without --docker-firewall=off"
		}
		return append(all, t)
	}
	return all
}

// comesFirst reports whether FORWARD jumps to a chain before it jumps to the overlay's.
func (p passage) comesFirst(forward []iptables.Entry, chain string) bool {
	for _, e := range forward {
		if firewall.Jump(e.Rule.Target) {
			return false
		}
		if e.Rule.Target == chain {
			return true
		}
	}
	return false
}

// stops reports whether a rule drops packets of the overlay: not single connections or states
// of them, as many good rules do.
func (p passage) stops(r rules.Rule) bool {
	drops := r.Target == rules.Drop || r.Target == rules.Reject
	return drops && (r.Other == "" || strings.HasPrefix(r.Other, "-p ")) && r.Mark == rules.Mark{} && !strings.Contains(r.Other, "port") &&
		p.may(r.In) && p.may(r.Out) && p.has(r.Src) && p.has(r.Dst)
}

// may reports whether packets of the overlay pass an interface that a rule is about.
func (p passage) may(i rules.Iface) bool {
	return i.Name == "" || slices.ContainsFunc(p.links, func(link string) bool { return (link == i.Name) != i.Not })
}

// has reports whether a packet of the overlay can have an address that a rule is about.
func (p passage) has(n rules.Net) bool {
	if n.Not {
		return n.Prefix.Bits() > p.network.Bits() || !n.Prefix.Overlaps(p.network)
	}
	return !n.Prefix.IsValid() || n.Prefix.Overlaps(p.network)
}

// dockerTables says what Docker 29 lacks that has its rules in nftables, where nobody can
// undo its drops.
func dockerTables() (t trouble, bad bool) {
	var kernel nft.Kernel
	tables, err := kernel.Tables()
	if err != nil || !slices.Contains(tables, nft.ID{Family: nft.IPv4, Name: "docker-bridges"}) {
		return t, false
	}
	text, _ := smallfile.Read(host.DaemonJSON, mostJSON) // most hosts have none
	given := string(text)
	for _, d := range dockerds() {
		given += strings.Join(d.args, " ")
	}
	for _, option := range []string{"allow-direct-routing", "bridge-accept-fwmark"} {
		if !strings.Contains(given, option) {
			return trouble{"Docker has its rules in nftables, and was started without --" + option + ": it drops what comes from the overlay",
				"# start dockerd with --allow-direct-routing --bridge-accept-fwmark=0x1000000/0x1000000 (docs/firewall.md)"}, true
		}
	}
	return t, false
}
