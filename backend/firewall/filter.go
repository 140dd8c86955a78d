package firewall

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"flanneld/pkg/firewall/nft"
	"flanneld/pkg/netif"
)

// filter keeps the table that drops what no peer has sent.
type filter struct {
	policy Policy
	id     nft.ID
	log    *slog.Logger

	mu       sync.Mutex
	refusals refusals
	kernel   nft.Kernel
	overlays []overlay
	host     host
	made     nft.Table // as it last was put in place; zero: it never was
	undone   []string  // what others had changed, as admit found it; a pass tells
}

// host is what the table depends on beside the overlays.
type host struct {
	local  []netip.Prefix // the underlay's own subnets
	beside []string       // other interfaces in one of them
	inside []netif.Addr   // all other interfaces, and their subnets
	marks  bool           // Docker's nftables need marks
	early  bool           // the kernel says before it routes only which interface leads to an address
}

func (f *filter) families() []family {
	f.mu.Lock()
	defer f.mu.Unlock()
	return families(f.overlays)
}

// admit makes the table for overlays, and reports whether a pass is due: they are others but
// for their peers, or somebody had changed the table. The host is looked at only if it never was: an earlier run's marks stay, or Docker
// would cut containers off.
func (f *filter) admit(overlays []overlay) (due bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	due = !slices.Equal(families(f.overlays), families(overlays))
	f.overlays = overlays
	if f.made.Name == "" {
		err = f.look()
	}
	if err == nil {
		var changes []string
		changes, err = f.apply()
		f.undone = append(f.undone, changes...)
	}
	if errors.Is(err, nft.ErrUnsupported) {
		err = nil // a pass logs what is missed
	}
	return due || len(f.undone) > 0, err
}

// pass makes the table for the same overlays, logs who was refused, and returns what
// others had changed. With rivals it removes them.
func (f *filter) pass(rivals bool) (changes []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.look(); err != nil {
		return nil, err
	}
	if changes, err = f.apply(); err != nil {
		return changes, err
	}
	changes, f.undone = append(f.undone, changes...), nil
	f.refusals.tell(f.made, f.overlays)
	if rivals {
		err = f.removeRivals()
	}
	return changes, err
}

// look finds out how the host is.
func (f *filter) look() error {
	now := f.host
	if f.policy.Docker {
		tables, err := f.kernel.Tables()
		if err != nil {
			return err
		}
		now.marks = slices.ContainsFunc(tables, func(id nft.ID) bool { return id.Name == "docker-bridges" })
	}
	if now.marks && !f.host.marks {
		f.log.Warn(fmt.Sprintf("Docker uses nftables: start it with --allow-direct-routing --bridge-accept-fwmark=%#x/%#[1]x, "+
			"or it drops packets from the overlay to containers", dockerMark))
	}
	if len(f.overlays) > 0 {
		if addrs, err := netif.Addrs(func(netip.Prefix) bool { return true }); err == nil {
			now.interfaces(f.overlays[0].underlay, addrs)
		}
	}
	f.host = now
	return nil
}

// interfaces sorts addresses of interfaces. An underlay's that is gone keeps its subnets:
// nothing comes from there.
func (h *host) interfaces(underlay string, addrs []netif.Addr) {
	var local []netip.Prefix
	for _, a := range addrs {
		if a.Interface == underlay {
			local = append(local, a.Masked())
		}
	}
	if len(local) > 0 {
		slices.SortFunc(local, netip.Prefix.Compare)
		h.local = slices.Compact(local)
	}
	h.beside, h.inside = nil, nil
	for _, a := range addrs {
		switch {
		case a.Interface == underlay:
		case slices.Contains(h.local, a.Masked()):
			h.beside = append(h.beside, a.Interface)
		case !a.IsSingleIP():
			h.inside = append(h.inside, netif.Addr{Interface: a.Interface, Prefix: a.Masked()})
		}
	}
	slices.Sort(h.beside)
	h.beside = slices.Compact(h.beside)
	slices.SortFunc(h.inside, func(a, b netif.Addr) int {
		return cmp.Or(a.Compare(b.Prefix), strings.Compare(a.Interface, b.Interface))
	})
	h.inside = slices.Compact(h.inside)
}

// apply makes the table, and returns what others had changed.
func (f *filter) apply() (changes []string, err error) {
	t := filterTable(f.id, f.policy, f.overlays, f.host)
	gone := !reflect.DeepEqual(f.made, t) && f.gone() // of the same table Apply tells it
	changes, err = f.kernel.Apply(t)
	if errors.Is(err, unix.EOPNOTSUPP) && !f.host.early {
		// Linux 5.10 is such a kernel, and 6.1 none.
		f.host.early = true
		t = filterTable(f.id, f.policy, f.overlays, f.host)
		changes, err = f.kernel.Apply(t)
	}
	if err != nil {
		if !f.policy.Filter.Off {
			err = fmt.Errorf("keep strangers out: %w (the kernel's nf_tables may lack a part; --peer-filter=off does without)", err)
		}
		return changes, err
	}
	if len(changes) > 0 && !reflect.DeepEqual(f.made, t) {
		// Another table is wanted now; nobody has changed the last one.
		f.log.Debug("Changed the filter", "changes", changes)
		if changes = nil; gone {
			changes = []string{"nft add table " + t.String()}
		}
	}
	f.made = t
	return changes, nil
}

// gone reports whether somebody has deleted the table that was made.
func (f *filter) gone() bool {
	if f.made.Name == "" {
		return false
	}
	tables, err := f.kernel.Tables() // if they cannot be told, they cannot be made either
	return err == nil && !slices.Contains(tables, f.id)
}

// removeRivals removes filters for the same tunnel, or for the same Network on the same
// interface, under the names of another --etcd-prefix. Two daemons do not share a
// tunnel, so the other one is gone, and nobody lets later peers in there.
func (f *filter) removeRivals() error {
	rivals, err := f.kernel.Alike(f.made, func(id nft.ID) bool { return id.Family == nft.Inet && ownTable(id) })
	for _, id := range rivals {
		if _, err := f.kernel.Apply(nft.Table{ID: id}); err != nil {
			return err
		}
		f.log.Warn("Removed the filter that a flanneld with another --etcd-prefix left for this network", "table", id)
	}
	return err
}
