package nft

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/firewall"
	"flanneld/pkg/wake"
)

// ErrUnsupported: the kernel has no nftables.
var ErrUnsupported = errors.New("the kernel has no nftables")

// Kernel is the nftables of a network namespace. The zero value is that of the
// calling thread. It is not safe for concurrent use.
type Kernel struct {
	NetNS int // descriptor of the namespace; 0: the calling thread's

	same map[ID]stamp // tables as they were when they last were as wanted
}

// stamp says when a table was compared last.
type stamp struct {
	generation uint32 // of all rules in the namespace; every change raises it
	want       parts
}

const (
	// answerTime is the longest time that the kernel may take to answer.
	answerTime = 10 * time.Second
	// sendBuffer holds the largest transaction: some 100,000 addresses.
	sendBuffer = 8 << 20 // bytes
	// watchBuffer holds notifications, in bytes. One that is lost does no harm: they
	// only say that something has changed.
	watchBuffer = 1 << 20
)

// conn returns a connection that opens a socket for each request.
func (k *Kernel) conn() *nftables.Conn {
	c, _ := nftables.New(nftables.WithNetNSFd(k.NetNS), nftables.WithSockOptions(func(c *netlink.Conn) error {
		// A transaction that fails may leave messages without an answer.
		if err := c.SetDeadline(time.Now().Add(answerTime)); err != nil {
			return err
		}
		return c.SetWriteBuffer(sendBuffer)
	})) // only a lasting connection can fail
	return c
}

// generation returns the number of the last change of any rule in the namespace.
func (k *Kernel) generation() (uint32, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: k.NetNS})
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return 0, ErrUnsupported
	}
	if err != nil {
		return 0, fmt.Errorf("open nftables: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return 0, err
	}
	answers, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return 0, ErrUnsupported
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the generation of nftables: %w", err)
	}
	for _, a := range answers {
		if generation, ok := parseGeneration(a.Data); ok {
			return generation, nil
		}
	}
	return 0, errors.New("ask for the generation of nftables: no answer")
}

// Supported returns nil if the kernel has nftables, and ErrUnsupported if it has none.
// Any other error says nothing about that.
func (k *Kernel) Supported() error {
	_, err := k.generation()
	return err
}

// Tables returns all tables that there are, whosever they are.
func (k *Kernel) Tables() (_ []ID, err error) {
	defer recovered(&err)
	tables, err := k.conn().ListTables()
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	all := make([]ID, len(tables))
	for i, t := range tables {
		all[i] = ID{Family(t.Family), t.Name}
	}
	return all, nil
}

// Alike returns other tables that drop what this one drops: they have one of its rules
// that do, word for word. Only tables that may be are read.
func (k *Kernel) Alike(t Table, may func(ID) bool) (alike []ID, err error) {
	var drops []string
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			if r.Target == firewall.Drop && !r.Split { // of all tunnels on a port
				drops = append(drops, flatten(t.Family, r.rule(t.Family)))
			}
		}
	}
	tables, err := k.Tables()
	if err != nil {
		return nil, err
	}
	for _, id := range tables {
		if id == t.ID || !may(id) {
			continue
		}
		have, err := readTable(k.conn(), id)
		if err != nil {
			return nil, fmt.Errorf("read table %s: %w", id, err)
		}
		rules := slices.Concat(slices.Collect(maps.Values(have))...)
		if slices.ContainsFunc(drops, func(r string) bool { return slices.Contains(rules, r) }) {
			alike = append(alike, id)
		}
	}
	return alike, nil
}

// Counters returns how many packets the table's counters have counted; none if
// there is no such table.
func (k *Kernel) Counters(id ID) (map[string]uint64, error) {
	return countersOf(k.conn(), id.table())
}

// Remembered returns the addresses that rules have put into a set.
func (k *Kernel) Remembered(id ID, set string) ([]netip.Addr, error) {
	elements, err := elementsOf(k.conn(), &nftables.Set{Table: id.table(), Name: set})
	if err != nil {
		return nil, err
	}
	all := make([]netip.Addr, len(elements))
	for i, e := range elements {
		key, _ := parseElement(e)
		var ok bool
		if all[i], ok = netip.AddrFromSlice(key); !ok {
			return nil, fmt.Errorf("list elements of %s: %x is no address", set, key)
		}
	}
	return all, nil
}

// Watch wakes changed whenever a rule, chain, set or table of anybody is changed, until
// ctx is done. It returns nil then. Rules that iptables of the legacy flavour makes are not among them.
func (k *Kernel) Watch(ctx context.Context, changed wake.Chan) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: k.NetNS, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	defer c.Close()
	if err := c.SetReadBuffer(watchBuffer); err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		_, err := c.Receive()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("watch nftables: %w", err)
		}
		changed.Wake()
	}
}
