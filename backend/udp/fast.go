package udp

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"flanneld/backend"
	"flanneld/backend/udp/fastpath"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

// announced is what a lease says of this backend, as JSON: BackendData. All releases ignore
// what they do not know.
type announced struct {
	// Direct is 2 if the host takes packets of any length, whose checksums nobody has
	// computed, from hosts that say the same.
	Direct int `json:",omitempty"`
}

const takesAll = 2

// announces reports whether a peer takes such packets.
func announces(c subnet.Claim) bool {
	var a announced
	return c.Data != "" && json.Unmarshal([]byte(c.Data), &a) == nil && a.Direct >= takesAll
}

// fastPath is what moves packets in the kernel.
type fastPath interface {
	Link() datapath.Link
	Filters(device string) []datapath.Filter
	Set(fastpath.State)
	Failed(error)
	Announces() bool
	Why() string
	InKernel() []netip.Prefix
	Run(context.Context)
	Close()
	Counters() []fastpath.Counter
}

// kernelPath is a fastPath, or the reason why there is none.
type kernelPath struct {
	fastPath
	why   string // there is none
	began time.Time
	ready bool // it has been told of the peers

	// What an earlier run left. While there is no fast path, what takes packets stays
	// attached for some time; where there is one, what sends them does until the engine has the
	// device, since until then what the new program does not take would be lost.
	links   []datapath.Link
	filters []datapath.Filter
	sends   []datapath.Filter
	engine  bool // has the device
}

// leftFor is how long what takes packets stays attached, when this run does without: peers
// send packets so until they have heard that this host does not announce any more.
const leftFor = time.Minute

// openKernelPath loads the programs, if they can be used here.
func openKernelPath(p backend.Params, o Options) kernelPath {
	k := kernelPath{began: time.Now()}
	if slices.Contains(p.Without, "kernel") {
		k.why = "--udp-offload"
		return k
	}
	if p.Underlay.PublicV4 != p.Underlay.V4 {
		k.why = "this host's PublicIP is not its interface's address"
		return k
	}
	if p.Claim != nil {
		if err := p.Claim(fastpath.DeviceName); err != nil {
			k.why = err.Error()
			return k
		}
	}
	path, err := fastpath.Open(fastpath.Config{Underlay: p.Underlay.Name, Local: p.Underlay.V4, Port: o.Port,
		Owner: p.Scope.Owner, Changed: changedOf(p), Log: p.Log})
	if err != nil {
		k.why = err.Error()
		return k
	}
	k.fastPath = path
	return k
}

// changedOf returns Params.Changed, or what stands for it.
func changedOf(p backend.Params) func() {
	if p.Changed == nil {
		return func() {}
	}
	return p.Changed
}

// String is for the log.
func (k *kernelPath) String() string {
	if k.fastPath == nil {
		return "off (" + k.why + ")"
	}
	return "full"
}

// left notes what an earlier run has left.
func (k *kernelPath) left(have datapath.State) {
	for _, l := range have.Links {
		if l.VXLAN.GPE {
			k.links = append(k.links, l)
		}
	}
	for _, f := range have.Filters {
		if f.Egress {
			k.sends = append(k.sends, f)
		} else {
			k.filters = append(k.filters, f)
		}
	}
}

// add adds what must be in the kernel to a plan.
func (k *kernelPath) add(p *backend.Plan, device string, partial bool) {
	p.Spare = func(o datapath.Object) bool {
		l, link := o.(datapath.Link)
		_, filter := o.(datapath.Filter)
		return filter || link && l.VXLAN.GPE
	}
	switch {
	case k.fastPath != nil:
		p.State.Links = append(p.State.Links, k.Link())
		p.State.Filters = k.Filters(device)
		p.Spared = k.Failed
		for i, f := range p.State.Filters {
			for _, old := range k.sends {
				if !k.engine && f.Egress && old.Link == f.Link {
					p.State.Filters[i], p.Spared = old, nil // not all is as it is to be
				}
			}
		}
	case len(k.filters) > 0 && (partial || time.Since(k.began) < leftFor):
		p.State.Links = append(p.State.Links, k.links...)
		p.State.Filters = k.filters
	}
}

// stateOfPath returns what the programs have to know. Near are the peers' addresses that the
// underlay's interface leads to.
func stateOfPath(plane backend.Plane, device string, mtu int, near map[netip.Addr]bool) fastpath.State {
	s := fastpath.State{Device: device, Subnet: plane.Subnet, MTU: mtu}
	for _, p := range plane.Peers {
		s.Peers = append(s.Peers, fastpath.Peer{Subnet: p.Subnet, Remote: p.PublicIP, Announces: announces(p), Near: near[p.PublicIP]})
	}
	return s
}

// near asks which of the peers that announce are reached by the underlay's interface. While the
// kernel does not say, none is.
func (b *Backend) near(ctx context.Context, peers []subnet.Claim) map[netip.Addr]bool {
	var ask []netip.Addr
	for _, p := range peers {
		if announces(p) {
			ask = append(ask, p.PublicIP)
		}
	}
	hops, err := b.kernel.NextHops(ctx, b.scope, []netip.Addr{b.underlay.V4}, ask)
	if err != nil {
		b.log.Warn("Packets to peers go through the daemon, since the kernel does not say how they are reached", "err", err)
		return nil
	}
	near := make(map[netip.Addr]bool, len(ask))
	for i, hop := range hops {
		near[ask[i]] = hop.Link == b.underlay.Name
	}
	return near
}

// setPath tells the programs what is forwarded.
func (b *Backend) setPath(planes []backend.Plane) {
	if b.path.fastPath == nil {
		return
	}
	b.path.Set(stateOfPath(planes[0], b.device, b.mtu, b.reached))
	b.path.ready = true
}
