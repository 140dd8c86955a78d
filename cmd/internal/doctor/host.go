package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"flanneld/backend"
	"flanneld/backend/underlay"
	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/options"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/netif"
	"flanneld/pkg/smallfile"
	"flanneld/subnet"
	"flanneld/subnet/cache"
	"flanneld/subnet/config"
)

// Host is the host that is looked at. What costs something is found out when the first
// check wants to know, and once.
type Host struct {
	Status  status.Status  // of the daemon, or what it has left in files if PID is 0
	Options options.Daemon // the daemon's
	Hidden  string         // why some of the Options may not be known; empty: all are
	Store   subnet.Store   // of the daemon's network; nil: none can be made, and StoreErr says why

	StoreErr error
	// New makes the backend of a configuration to plan with: it opens nothing, and forwards
	// nothing.
	New func(config.Config, backend.Params) (backend.Backend, error)

	once      sync.Once
	known     knowledge
	oldOnce   sync.Once
	old       string // see outdated
	probeOnce sync.Once
	probed    *probed
	probeErr  error
	privilege func() error
}

// knowledge is what the cluster's store says, or what the daemon kept of it.
type knowledge struct {
	config    config.Config
	configErr error
	leases    []subnet.Lease
	leasesErr error
	source    string // of both: "etcd" or the file
	etcd      error  // why it is not etcd
}

// askTime is the longest time for which etcd is asked.
const askTime = 4 * time.Second

// know asks etcd, and takes what the daemon kept if that does not answer.
func (h *Host) know(ctx context.Context) *knowledge {
	h.once.Do(func() {
		k := &h.known
		k.source = "etcd"
		if k.etcd = h.ask(ctx); k.etcd != nil {
			h.recall(k.etcd)
		}
	})
	return &h.known
}

func (h *Host) ask(ctx context.Context) error {
	if h.Store == nil {
		return h.StoreErr
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	k := &h.known
	doc, err := h.Store.Config(ctx)
	switch {
	case errors.Is(err, config.ErrNone):
		k.configErr = err
	case err != nil:
		return err
	default:
		k.config, _, k.configErr = config.Parse(doc.Raw)
	}
	k.leases, _, err = h.Store.Leases(ctx)
	slices.SortFunc(k.leases, subnet.Lease.Compare) // etcd's v2 API has no order
	return err
}

// mostCache bounds the file of what the daemon knew, in bytes: 10,000 leases have 2.5 MB.
const mostCache = 64 << 20

// recall takes what the daemon has kept in its state directory, which root may read.
func (h *Host) recall(why error) {
	k := &h.known
	file := filepath.Join(h.Options.StateDir, cache.File)
	data, err := smallfile.Read(file, mostCache)
	var kept cache.Known
	if err == nil {
		kept, err = cache.Decode(data)
	}
	if err == nil && kept.Host.Prefix != h.Options.Etcd.Prefix {
		err = fmt.Errorf("%s is of another network, %s", file, kept.Host.Prefix)
	}
	if err != nil {
		k.configErr = fmt.Errorf("%w; %w", why, err)
		k.leasesErr = k.configErr
		return
	}
	k.source = file
	k.config, _, k.configErr = config.Parse(kept.Config.Raw)
	k.leases = append(slices.Clone(kept.Peers), kept.Own)
}

// lacks says what of the needs is not there; empty: nothing.
func (h *Host) lacks(ctx context.Context, n Need) string {
	if n&Root != 0 && h.privileged() != nil {
		return "it needs root"
	}
	if n&(Flags|Config|Leases) != 0 && h.Hidden != "" {
		return h.Hidden
	}
	if n&Forwards != 0 && h.Status.Backend.Type == "alloc" {
		return "the backend alloc forwards nothing"
	}
	if n&Lease != 0 && h.key() == (subnet.Key{}) {
		return "no lease of this host is known: " + h.Status.Text
	}
	if n&(Config|Leases) == 0 {
		return ""
	}
	k := h.know(ctx)
	if n&Config != 0 && k.configErr != nil {
		return fmt.Sprintf("the network configuration is not known: %v", k.configErr)
	}
	if n&Leases != 0 && k.leasesErr != nil {
		return fmt.Sprintf("the leases are not known: %v", k.leasesErr)
	}
	if n&Current != 0 {
		if why := h.outdated(ctx); why != "" {
			return why + ": see the check backends"
		}
	}
	return ""
}

func (h *Host) privileged() error {
	if h.privilege == nil {
		h.privilege = sync.OnceValue(func() error { return netif.CheckPrivilege("flannelctl") })
	}
	return h.privilege()
}

// alive reports whether the daemon answers.
func (h *Host) alive() bool { return h.Status.PID != 0 }

// key returns this host's subnets; zero: none are known.
func (h *Host) key() subnet.Key {
	return subnet.Key{V4: h.Status.Lease.Subnet, V6: h.Status.Lease.SubnetV6}
}

// own returns this host's lease among those that are known, if it is there.
func (h *Host) own(ctx context.Context) (subnet.Lease, bool) {
	leases := h.know(ctx).leases
	i := slices.IndexFunc(leases, func(l subnet.Lease) bool { return l.Key() == h.key() })
	if i < 0 {
		return subnet.Lease{}, false
	}
	return leases[i], true
}

// query asks for the external interface as the daemon does.
func (h *Host) query(cfg config.Config) underlay.Query {
	o := h.Options
	return underlay.Query{Names: o.Iface, Regexps: o.IfaceRegex, CanReach: o.IfaceCanReach, PublicIP: o.PublicIP, PublicIPv6: o.PublicIPv6, V6: cfg.V6.Enabled()}
}

// external returns the external interface, as the daemon would find it now.
func (h *Host) external(ctx context.Context) (backend.Underlay, error) {
	return underlay.Find(h.query(h.know(ctx).config), discard())
}

// told returns what Docker is to be told.
func (h *Host) told() host.Handover { return host.Handover{Key: h.key(), MTU: h.Status.Backend.MTU} }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// first returns the first address of a subnet, which its bridge has, with the length.
func first(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(p.Addr().Next(), p.Bits()) }

// joinList joins words with commas.
func joinList(list []string) string { return strings.Join(list, ", ") }
