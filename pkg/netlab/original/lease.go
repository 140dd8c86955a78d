package original

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// network is the configuration, with defaults as since release 0.10.
type network struct {
	Network              string
	SubnetLen            int
	SubnetMin, SubnetMax string
	Backend              struct {
		Type      string
		VNI, Port int
	}
	net, first, last netip.Prefix
}

func parseNetwork(text string) (n network, err error) {
	n.SubnetLen, n.Backend.Type, n.Backend.VNI = 24, "udp", 1
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return n, err
	}
	if n.net, err = netip.ParsePrefix(n.Network); err != nil {
		return n, err
	}
	n.net = n.net.Masked()
	n.first = next(netip.PrefixFrom(n.net.Addr(), n.SubnetLen))
	if n.SubnetMin != "" {
		if n.first, err = netip.ParsePrefix(n.SubnetMin + "/" + strconv.Itoa(n.SubnetLen)); err != nil {
			return n, err
		}
	}
	n.last = netip.Prefix{}
	if n.SubnetMax != "" {
		n.last, err = netip.ParsePrefix(n.SubnetMax + "/" + strconv.Itoa(n.SubnetLen))
	}
	return n, err
}

// allows reports whether a lease fits the configuration.
func (n network) allows(p netip.Prefix) bool {
	return p.Bits() == n.SubnetLen && p.Addr().Compare(n.first.Addr()) >= 0 && n.net.Overlaps(p) &&
		(!n.last.IsValid() || p.Addr().Compare(n.last.Addr()) <= 0)
}

func next(p netip.Prefix) netip.Prefix {
	b := p.Addr().As4()
	sum := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]) + 1<<(32-p.Bits())
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), p.Bits())
}

// attrs is a lease's value.
type attrs struct {
	PublicIP    string
	PublicIPv6  *string
	BackendType string          `json:",omitempty"`
	BackendData json.RawMessage `json:",omitempty"`
}

type lease struct {
	key    string // such as 10.1.2.0-24
	subnet netip.Prefix
	attrs  attrs
}

var leaseKey = regexp.MustCompile(`(\d+\.\d+\.\d+\.\d+)-(\d+)(?:&[0-9a-f:]+-\d+)?$`)

// parseLease reads a key, without or with what is before its last slash, and its value.
func parseLease(key, value string) (l lease, err error) {
	m := leaseKey.FindStringSubmatch(key)
	if m == nil {
		return l, fmt.Errorf("key %q is no subnet", key)
	}
	l.key = key[strings.LastIndex(key, "/")+1:]
	if l.subnet, err = netip.ParsePrefix(m[1] + "/" + m[2]); err == nil && value != "" {
		err = json.Unmarshal([]byte(value), &l.attrs)
	}
	return l, err
}

// acquire takes the lease with this host's address, or the subnet that it had, or one of
// the first hundred that are free. It does not try again when somebody else was quicker.
func (h *host) acquire(ctx context.Context) (revision int64, expires time.Time, err error) {
	leases, _, err := h.store.leases(ctx)
	if err != nil {
		return 0, expires, err
	}
	mine := h.plane.attrs()
	mine.PublicIP = h.external.public
	value, err := json.Marshal(mine)
	if err != nil {
		return 0, expires, err
	}
	for _, l := range leases {
		switch {
		case l.attrs.PublicIP != h.external.public:
		case h.network.allows(l.subnet):
			h.log.Printf("Found lease (%s) for current IP (%s), reusing", l.subnet, h.external.public)
			h.own = lease{key: l.key, subnet: l.subnet, attrs: mine}
			return h.store.put(ctx, l.key, string(value))
		default:
			h.log.Printf("Found lease (%s) for current IP (%s) but not compatible with current config, deleting", l.subnet, h.external.public)
			if err := h.store.remove(ctx, l.key); err != nil {
				return 0, expires, err
			}
		}
	}
	subnet, err := h.choose(leases)
	if err != nil {
		return 0, expires, err
	}
	h.own = lease{key: strings.Replace(subnet.String(), "/", "-", 1), subnet: subnet, attrs: mine}
	if revision, expires, err = h.store.create(ctx, h.own.key, string(value)); err == nil {
		h.log.Printf("Allocated lease (ip: %s ipv6: ::/0) to current node (%s)", subnet, h.external.public)
	}
	return revision, expires, err
}

func (h *host) choose(leases []lease) (netip.Prefix, error) {
	free := func(p netip.Prefix) bool {
		for _, l := range leases {
			if l.subnet.Overlaps(p) {
				return false
			}
		}
		return true
	}
	if p, err := netip.ParsePrefix(h.previous()); err == nil && h.network.allows(p.Masked()) && free(p.Masked()) {
		h.log.Printf("Found previously leased subnet (%s), reusing", p.Masked())
		return p.Masked(), nil
	}
	var some []netip.Prefix
	for p := h.network.first; h.network.allows(p) && len(some) < 100; p = next(p) {
		if free(p) {
			some = append(some, p)
		}
	}
	if len(some) == 0 {
		return netip.Prefix{}, errors.New("out of subnets")
	}
	return some[rand.IntN(len(some))], nil
}

// hold renews the lease at its end less the margin, and after a minute when that fails,
// until the key is gone.
func (h *host) hold(ctx context.Context, revision int64, expires time.Time) error {
	changes := make(chan change)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go h.store.watch(ctx, h.own.key, revision+1, changes)
	timer := time.NewTimer(0)
	timer.Stop()
	arm := func() {
		left := time.Until(expires) - h.margin
		h.log.Printf("Waiting for %s to renew lease", left.Round(time.Second))
		timer.Reset(left)
	}
	arm()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-changes:
			if c.kind == mvccpb.Event_DELETE || c.relist {
				if !c.relist || h.gone(ctx) {
					return errRevoked
				}
				continue
			}
			expires = c.expires
			arm()
			continue
		case <-h.renew:
		case <-timer.C:
		}
		value, err := json.Marshal(h.own.attrs)
		if err != nil {
			return err
		}
		if _, _, err := h.store.put(ctx, h.own.key, string(value)); err != nil {
			h.log.Print("Error renewing lease (trying again in 1 min): ", err)
			timer.Reset(time.Minute)
			continue
		}
		h.log.Print("Lease renewed") // the event arms the timer
	}
}

// gone reports whether this host's key is not in etcd, which it asks after a gap in history.
func (h *host) gone(ctx context.Context) bool {
	leases, _, err := h.store.leases(ctx)
	if err != nil {
		return false
	}
	for _, l := range leases {
		if l.key == h.own.key {
			return false
		}
	}
	return true
}
