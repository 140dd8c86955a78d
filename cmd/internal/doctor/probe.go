package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync"

	"flanneld/backend"
	"flanneld/cmd/internal/probe"
	"flanneld/subnet"
)

// mostProbed bounds the peers that packets are sent to, of however many.
const mostProbed = 32

// probed is what came of packets to peers, through the overlay and beside it.
type probed struct {
	peers    []subnet.Claim
	overlay  []probe.Result      // to each, through the overlay
	underlay []probe.Result      // to each PublicIP
	seen     []traffic           // of each, on the external interface
	absent   map[netip.Addr]bool // PublicIPs for which no host answers ARP
	of       int                 // peers there are
	in       backend.Ingress
	mtu      int // of the overlay, in bytes
	sniffErr error

	external    string // the external interface
	externalMTU int    // bytes
}

// probePeers sends packets to some peers, once for all checks.
func probePeers(ctx context.Context, h *Host) (*probed, error) {
	h.probeOnce.Do(func() { h.probed, h.probeErr = sendProbes(ctx, h) })
	return h.probed, h.probeErr
}

func sendProbes(ctx context.Context, h *Host) (*probed, error) {
	w, err := h.want(ctx)
	if err != nil {
		return nil, err
	}
	plane := w.planes[0]
	p := &probed{of: len(plane.Peers), in: w.plan.Ingress[0], mtu: w.mtu, external: w.underlay.Name, externalMTU: w.underlay.MTU}
	if p.of == 0 {
		return p, nil
	}
	step := (p.of + mostProbed - 1) / mostProbed
	for i := 0; i < p.of; i += step {
		p.peers = append(p.peers, plane.Peers[i])
	}
	var inside, outside []netip.Addr
	for _, peer := range p.peers {
		inside = append(inside, probe.Address(h.know(ctx).config.Type, peer.Subnet))
		outside = append(outside, peer.PublicIP)
	}
	s, err := sniff(w.underlay, p.in, plane.Network)
	if err != nil {
		p.sniffErr = err
	}
	p.overlay, err = probe.Run(ctx, inside, probe.Options{MTU: p.mtu})
	if p.sniffErr == nil {
		s.end()
		for i := range p.peers {
			p.seen = append(p.seen, s.between(outside[i], inside[i]))
		}
	}
	if err == nil && slices.ContainsFunc(p.overlay, func(r probe.Result) bool { return r.Received == 0 }) {
		p.underlay, err = probe.Run(ctx, outside, probe.Options{})
		p.absent = absent()
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("it needs root: %w", err)
	}
	return p, err
}

// some says to how many peers packets were sent.
func (p *probed) some() string {
	if len(p.peers) < p.of {
		return fmt.Sprintf("%d of %d peers", len(p.peers), p.of)
	}
	return counted(p.of, "peer")
}

// lookPort looks whether the tunnel's packets get to peers and back.
func lookPort(ctx context.Context, h *Host) Result {
	p, err := probePeers(ctx, h)
	switch {
	case err != nil:
		return skip("no packets can be sent to peers: %v", err)
	case p.of == 0:
		return pass("there is no peer to send to")
	}
	var filtered, silent, mend []string
	for i, r := range p.overlay {
		if r.Received > 0 {
			continue
		}
		saw, what, dead := p.diagnose(i)
		if dead {
			silent = append(silent, saw)
		} else {
			filtered = append(filtered, saw)
		}
		if !slices.Contains(mend, what) {
			mend = append(mend, what)
		}
	}
	switch {
	case len(filtered) > 0:
		return fail("%s", filtered[0]).with(fewOf(append(filtered[1:], silent...))...).mend(fewOf(mend)...)
	case len(silent) > 0:
		return warn("%s", silent[0]).with(fewOf(silent[1:])...).mend(fewOf(mend)...)
	}
	if p.of == 1 {
		return pass("1 peer was asked, and answers through the overlay")
	}
	return pass("%s were asked, and all answer through the overlay", p.some())
}

// fewOf shortens what is said of many peers.
func fewOf(lines []string) []string {
	const most = 8
	if len(lines) <= most {
		return lines
	}
	return append(slices.Clone(lines[:most]), fmt.Sprintf("# and %d more", len(lines)-most))
}

// port names the tunnel's.
func (p *probed) port() string {
	if p.in.Port == 0 {
		return "what comes from the overlay without a tunnel"
	}
	return fmt.Sprintf("udp port %d", p.in.Port)
}

// diagnose says why a peer does not answer through the overlay. Dead: it may not run at all.
func (p *probed) diagnose(i int) (saw, mend string, dead bool) {
	peer, up := p.peers[i], p.underlay != nil && p.underlay[i].Received > 0
	name := fmt.Sprintf("%s (%s)", peer.PublicIP, peer.Subnet)
	open := fmt.Sprintf("iptables -I INPUT -p udp --dport %d -j ACCEPT", p.in.Port)
	if p.in.Port == 0 {
		open = "iptables -I INPUT -s " + peer.Subnet.String() + " -j ACCEPT"
	}
	switch {
	case p.sniffErr != nil:
		return fmt.Sprintf("%s does not answer through the overlay; which way is closed cannot be seen: %v", name, p.sniffErr), "# run it as root, here and on " + peer.PublicIP.String(), !up
	case p.seen[i].out == 0 && !up && p.absent[peer.PublicIP]:
		return fmt.Sprintf("no host answers ARP for %s: it is down, or cannot be reached", name), "ping -c3 " + peer.PublicIP.String(), true
	case p.seen[i].out == 0:
		return fmt.Sprintf("nothing leaves this host for %s: this host's own rules drop %s on the way out, or there is no route", name, p.port()),
			"flannelctl doctor kernel firewall; nft list ruleset; iptables -S OUTPUT", false
	case p.seen[i].in > 0:
		return fmt.Sprintf("answers of %s come in at this host, and are dropped here: its own rules close %s", name, p.port()), open + "   # here", false
	case !up:
		return fmt.Sprintf("%s answers neither through the overlay nor to a plain ping: it is down, or cannot be reached", name), "ping -c3 " + peer.PublicIP.String(), true
	case p.in.Port == 0:
		return fmt.Sprintf("%s answers a plain ping, and nothing from its subnet comes back: it has no Docker bridge yet, or drops what comes from the overlay", name),
			"flannelctl doctor   # on " + peer.PublicIP.String(), true
	}
	return fmt.Sprintf("%s answers a plain ping, and nothing comes back on %s: it is closed there or on the way, or no flanneld has run there", name, p.port()),
		open + "   # on " + peer.PublicIP.String() + ", and in firewalls between", false
}

// lookMTU looks whether packets of the overlay's MTU get to peers and back.
func lookMTU(ctx context.Context, h *Host) Result {
	p, err := probePeers(ctx, h)
	switch {
	case err != nil:
		return skip("no packets can be sent to peers: %v", err)
	case p.of == 0:
		return pass("there is no peer to send to; the overlay's MTU is %d", p.mtu)
	}
	var wrong []string
	least, answered := p.mtu, 0
	for i, r := range p.overlay {
		if r.Received == 0 {
			continue
		}
		if answered++; r.MTU >= p.mtu {
			continue
		}
		how := "and whoever drops larger ones says so"
		if r.BlackHole {
			how = "and larger ones are lost without a word"
		}
		wrong = append(wrong, fmt.Sprintf("no packet of more than %d bytes gets to %s (%s) and back, %s; the overlay's MTU is %d",
			r.MTU, p.peers[i].PublicIP, p.peers[i].Subnet, how, p.mtu))
		least = min(least, r.MTU)
	}
	switch {
	case answered == 0:
		return skip("no peer answers: see the check port")
	case len(wrong) == 0:
		return pass("packets of %d bytes, the overlay's MTU, get to %s and back", p.mtu, counted(answered, "peer"))
	}
	lower := p.externalMTU - (p.mtu - least)
	return fail("%s", wrong[0]).with(fewOf(wrong[1:])...).mend(
		fmt.Sprintf("ip link set %s mtu %d   # on each host: what the path carries; flanneld follows", p.external, lower),
		"# or raise the MTU of what is between; then restart Docker and make the containers anew")
}

// lookChecksum looks for packets that are lost since their checksum is wrong: a card, or its
// driver, that does not compute those inside a tunnel right.
func lookChecksum(ctx context.Context, h *Host) Result {
	p, err := probePeers(ctx, h)
	if err != nil {
		return skip("no packets can be sent to peers: %v", err)
	}
	if p.of == 0 {
		return pass("there is no peer to send to")
	}
	link := cmp.Or(p.in.Device, p.external)
	before := badChecksums()
	var mu sync.Mutex
	var g sync.WaitGroup
	var lost []string
	unclear, asked := 0, 0
	for i, r := range p.overlay {
		if r.Received == 0 {
			continue
		}
		asked++
		g.Go(func() {
			kernels, byHand := knock(ctx, r.Address, i)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case !kernels && byHand:
				lost = append(lost, fmt.Sprintf("%s (%s) does not answer TCP whose checksum is left to %s, and does if it is computed here",
					p.peers[i].PublicIP, p.peers[i].Subnet, link))
			case !kernels:
				unclear++
			}
		})
	}
	g.Wait()
	const here = "ethtool -K %s tx-checksum-ip-generic off   # here; lasts until the device is made anew"
	switch bad := badChecksums() - before; {
	case bad > 0 && unclear+len(lost) > 0:
		return fail("%d answers of peers came with a wrong checksum", bad).mend(fmt.Sprintf("ethtool -K %s tx-checksum-ip-generic off   # on the peers", link))
	case len(lost) > 0:
		slices.Sort(lost)
		return fail("%s", lost[0]).with(lost[1:]...).mend(fmt.Sprintf(here, link))
	case asked == 0:
		return skip("no peer answers: see the check port")
	case unclear == asked:
		return skip("no peer answers TCP, by whomever its checksum is computed")
	}
	return pass("TCP gets to %s and back, its checksums left to %s", counted(asked-unclear, "peer"), link)
}
