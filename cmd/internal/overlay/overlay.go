// Package overlay connects this host's lease with what it forwards: which peers follow
// from all leases, and what a pass, a move or a lease that is lost means for the others.
// It does not know how a lease is held, or how packets get to peers.
package overlay

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"flanneld/backend"
	"flanneld/backend/loop"
	"flanneld/backend/underlay"
	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/wake"
	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/tenant"
)

// Host is this host as a part of the overlay. Planes, Passed and Moved are called by the
// loop, LeaseChanged by the tenant.
type Host struct {
	Config    config.Config
	Blackhole bool // as in backend.Members
	Fence     bool // forward nothing while the lease is not safe

	View   *subnet.View
	Tenant *tenant.Tenant
	Docker *host.Docker
	Board  *status.Board
	// Firewall is told of another external interface, and the store that the host has
	// lost an address.
	Firewall interface{ SetUnderlay(name string) }
	Store    interface{ Moved() }

	// Needed returns what else this host reaches without the overlay.
	Needed func() ([]backend.Needed, error)

	Local    []netip.Prefix // subnets that this host itself is in; of the loop's goroutine once that runs
	Wake     wake.Chan      // of the loop
	Standing wake.Chan      // is woken when it has changed how the host stands with its lease, or for how long
	Passes   wake.Chan      // is woken after each pass
	Began    chan struct{}  // is closed after the first pass
	Log      *slog.Logger

	once   sync.Once
	needed []backend.Needed // of the last pass, as are the planes
	before []backend.Plane
}

// Planes begins a pass.
func (h *Host) Planes() ([]backend.Plane, []backend.Fault) {
	h.Docker.Begin()
	own, s := h.Tenant.State()
	leases := h.View.Leases()
	if s.State == subnet.Conflict { // the lease that is being taken may be there already
		leases = slices.DeleteFunc(leases, func(l subnet.Lease) bool {
			return l.Key() != own.Key() && l.V4.PublicIP == own.V4.PublicIP
		})
	}
	if needed, err := h.Needed(); err == nil {
		h.needed = needed
	} else {
		h.Log.Debug("Cannot find out what this host reaches without the overlay; using what was known", "err", err)
	}
	planes, faults := backend.Planes(backend.Members{V4: h.Config.V4, V6: h.Config.V6, Own: own, Leases: leases,
		Local: h.Local, Needed: h.needed, Before: h.before,
		Blackhole: h.Blackhole, Fenced: h.Fence && !s.State.Safe(), Partial: !h.View.Listed()})
	h.before = planes
	h.Board.Want(planes, faults, len(leases), h.View.Lost())
	return planes, faults
}

// Passed follows each pass.
func (h *Host) Passed(p loop.Pass) error {
	h.once.Do(func() { close(h.Began) })
	h.Passes.Wake()
	h.Board.Passed(p)
	if !p.Ready {
		h.Docker.Incomplete(p.Err)
		return nil
	}
	lease, s := h.Tenant.State()
	return h.Docker.Done(lease, s.State, p.MTU, p.Peers)
}

// Moved follows a move of the host to another external interface, address or MTU: it
// tells the peers where the host is now. The lease keeps its subnet.
func (h *Host) Moved(to backend.Underlay, next backend.Backend) error {
	if local, err := underlay.Local(to.Name, h.Config.Networks(), h.Log); err == nil {
		h.Local = local
	} else {
		h.Log.Debug("Cannot list the subnets that this host is in; using those known before", "err", err)
	}
	h.Firewall.SetUnderlay(to.Name)
	h.Board.SetUnderlay(to)
	h.Store.Moved()
	return h.Publish(to, next)
}

// Publish tells the peers what the backend advertises now.
func (h *Host) Publish(u backend.Underlay, be backend.Backend) error {
	claims, err := backend.Claims(be, u, h.Config.V6.Enabled())
	if err == nil {
		h.Tenant.Publish(claims, h.Local)
	}
	return err
}

// LeaseChanged is told how this host stands with its lease.
func (h *Host) LeaseChanged(was, now subnet.Standing) {
	switch {
	case !h.Fence || now.State.Safe() == was.State.Safe():
	case was.State.Safe():
		h.Log.Warn("Fence: nothing is forwarded until this host has a safe lease", "lease", now.State)
	case was.State != 0 && was.State != subnet.Acquiring:
		h.Log.Info("Fence: forwarding again", "lease", now.State)
	}
	h.Board.SetLease(now)
	h.Standing.Wake()
	if now.State != was.State || now.Lease.Key() != was.Lease.Key() {
		h.Wake.Wake() // this may change what is forwarded, or that the host is ready
	}
}
