package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"flanneld/backend"
	"flanneld/backend/underlay"
	"flanneld/cmd/internal/host"
	"flanneld/pkg/backoff"
	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/kernel"
	"flanneld/pkg/smallfile"
	"flanneld/subnet"
)

// wanted is how the kernel has to be, by the configuration and the leases.
type wanted struct {
	underlay backend.Underlay
	scope    datapath.Scope
	planes   []backend.Plane
	faults   []backend.Fault
	plan     backend.Plan
	leases   []netip.Prefix // other hosts' subnets, peers or not
	mtu      int            // of the overlay, in bytes
}

// want computes it, as the daemon does.
func (h *Host) want(ctx context.Context) (*wanted, error) {
	k := h.know(ctx)
	cfg := k.config
	u, err := h.external(ctx)
	if err != nil {
		return nil, err
	}
	w := &wanted{underlay: u}
	previous := host.ReadSubnetEnv(h.Options.SubnetFile, discard())
	w.scope = datapath.Scope{Owner: host.Owner(h.Options.Etcd.Prefix), Links: previous.Leftovers(discard()),
		Networks: previous.Networks(cfg.Networks()...), Protocol: host.RouteProtocol}
	b, err := h.New(cfg, backend.Params{Underlay: u, Scope: w.scope, Kernel: kernel.Kernel{}, State: readOnly(h.Options.StateDir), Log: discard()})
	if err != nil {
		return nil, err
	}
	w.mtu = b.MTU()
	claims, err := backend.Claims(b, u, cfg.V6.Enabled())
	if err != nil {
		return nil, err
	}
	claims.V4.Subnet, claims.V6.Subnet, claims.Node = h.key().V4, h.key().V6, h.Status.Lease.Node
	local, err := underlay.Local(u.Name, cfg.Networks(), discard())
	if err != nil {
		return nil, err
	}
	needed, err := underlay.Needed(cfg.Networks(), h.etcdAddrs())
	if err != nil {
		return nil, err
	}
	w.planes, w.faults = backend.Planes(backend.Members{V4: cfg.V4, V6: cfg.V6, Own: claims, Leases: k.leases, Local: local, Needed: needed,
		Blackhole: h.Options.BlackholeRoute})
	for _, l := range k.leases {
		if l.Key() != h.key() {
			w.leases = append(w.leases, l.V4.Subnet)
		}
	}
	w.plan, err = b.Plan(ctx, w.planes)
	return w, err
}

// etcdAddrs returns where etcd was looked for.
func (h *Host) etcdAddrs() []netip.Addr {
	if tried, ok := h.Store.(interface{ Tried() []netip.Addr }); ok {
		return tried.Tried()
	}
	return nil
}

// readOnly is the state directory, to which nothing is written.
type readOnly string

func (d readOnly) Load(name string) ([]byte, error) {
	const most = 1 << 20 // bytes, of a MAC or the like
	return smallfile.Read(filepath.Join(string(d), name), most)
}

func (readOnly) Save(string, []byte) error { return nil }

// have reads what the kernel has of the overlay.
func (w *wanted) have(ctx context.Context) (datapath.State, error) {
	scope := w.scope
	scope.Links = slices.Clone(scope.Links)
	for _, l := range w.plan.State.Links {
		scope.Links = append(scope.Links, l.Name)
	}
	return kernel.Kernel{}.Read(ctx, scope)
}

// mostCommands is how many commands of one kind of trouble are printed.
const mostCommands = 20

// lookKernel compares the kernel with what is wanted. A daemon that runs mends it by itself,
// so that what differs has to differ twice.
func lookKernel(ctx context.Context, h *Host) Result {
	if s := h.Status.Lease.State; h.alive() && s != subnet.Held.String() && s != subnet.AtRisk.String() {
		return skip("nothing is certain while the lease is %s", s)
	}
	w, err := h.want(ctx)
	if err != nil {
		return fail("what the kernel is to have cannot be told: %v", err)
	}
	ops, blocked, err := h.differences(ctx, w)
	if len(ops)+len(blocked) > 0 && err == nil && h.alive() {
		first := ops
		if err := backoff.Sleep(ctx, mendTime); err != nil {
			return skip("%v", err)
		}
		if w, err = h.want(ctx); err == nil {
			ops, blocked, err = h.differences(ctx, w)
		}
		ops = slices.DeleteFunc(ops, func(op datapath.Op) bool { return !slices.Contains(first, op) })
	}
	peers := 0
	for _, p := range w.planes {
		peers += len(p.Peers)
	}
	switch {
	case err != nil:
		return fail("the kernel cannot be read: %v", err)
	case len(ops)+len(blocked) == 0:
		return pass("the kernel has all that %s wants for %s", h.know(ctx).source, counted(peers, "peer"))
	}
	r := fail("%s in the kernel are not as %s wants them", counted(len(ops)+len(blocked), "object"), h.know(ctx).source)
	for _, b := range blocked[:min(len(blocked), mostCommands)] {
		r = r.with(b.Error())
	}
	for _, op := range ops[:min(len(ops), mostCommands)] {
		r = r.mend(op.String())
	}
	if more := len(ops) - mostCommands; more > 0 {
		r = r.mend(fmt.Sprintf("# and %d more; the daemon does all: systemctl restart flanneld", more))
	}
	if !h.alive() {
		r = r.mend("systemctl start flanneld   # does all that")
	}
	return r
}

// mendTime is longer than a daemon takes to mend what others have changed.
const mendTime = 3 * time.Second

// differences returns the commands that would mend the kernel, and what cannot be mended.
func (h *Host) differences(ctx context.Context, w *wanted) ([]datapath.Op, []error, error) {
	have, err := w.have(ctx)
	if err != nil {
		return nil, nil, err
	}
	ops, blocked := datapath.Mend(w.plan.State, have)
	if h.Status.Peers.Kept > 0 { // they are wanted, and nobody but the daemon knows which
		ops = slices.DeleteFunc(ops, func(op datapath.Op) bool { return op.Verb == datapath.Delete })
	}
	return ops, blocked, nil
}

// outdated says how the daemon, or its device, differs from the configuration in etcd, which
// others have by now; empty: it does not.
func (h *Host) outdated(ctx context.Context) string {
	h.oldOnce.Do(func() { h.old = h.compare(ctx) })
	return h.old
}

func (h *Host) compare(ctx context.Context) string {
	k := h.know(ctx)
	if k.configErr != nil {
		return ""
	}
	if runs := h.Status.Backend.Type; h.alive() && runs != k.config.Type {
		return fmt.Sprintf("the daemon runs %s, and the configuration in etcd says %s", runs, k.config.Type)
	}
	if runs := h.Status.Network.Network; h.alive() && runs.IsValid() && runs != k.config.V4.Network {
		return fmt.Sprintf("the daemon runs the network %s, and the configuration in etcd says %s", runs, k.config.V4.Network)
	}
	w, err := h.want(ctx)
	if err != nil {
		return ""
	}
	have, err := w.have(ctx)
	if err != nil {
		return ""
	}
	for _, l := range w.plan.State.Links {
		for _, is := range have.Links {
			if is.Kind != "vxlan" || l.Kind != "vxlan" || l.VXLAN.GPE || is.VXLAN.GPE || is.Alias != l.Alias || is.VXLAN.Local.Is6() != l.VXLAN.Local.Is6() {
				continue
			}
			if is.VXLAN.VNI != l.VXLAN.VNI {
				return fmt.Sprintf("%s has VNI %d, and the configuration in etcd says %d", is.Name, is.VXLAN.VNI, l.VXLAN.VNI)
			}
			if is.VXLAN.Port != l.VXLAN.Port {
				return fmt.Sprintf("%s has port %d, and the configuration in etcd says %d", is.Name, is.VXLAN.Port, l.VXLAN.Port)
			}
		}
	}
	return ""
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
