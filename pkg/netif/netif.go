// Package netif answers questions about the network interfaces of this host, and may tell
// whether they can be changed. It changes nothing, and does not know what an interface
// carries.
package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attempts is the largest number of times that an interrupted dump is tried. On a host
// that starts many containers one or two repetitions are usual.
const attempts = 5

// Dump reads a table and reads it again when it changed meanwhile: an
// interrupted dump can lack entries.
func Dump[T any](list func() (T, error)) (T, error) {
	var all T
	var err error
	for range attempts {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// ErrNoInterface is returned when there is no interface of the name.
var ErrNoInterface = errors.New("no such interface")

// Aliases returns those of the interfaces that have one.
func Aliases() (aliases []string, err error) {
	links, err := Dump(netlink.LinkList)
	for _, l := range links {
		if alias := l.Attrs().Alias; alias != "" {
			aliases = append(aliases, alias)
		}
	}
	return aliases, err
}

// Prefixes returns the addresses of an interface with the lengths of their subnets,
// of both families; those of all interfaces if the name is empty. It returns ErrNoInterface
// if there is no such interface.
func Prefixes(name string) ([]netip.Prefix, error) {
	var link netlink.Link
	if name != "" {
		var err error
		if link, err = lookUp(name); err != nil {
			return nil, err
		}
	}
	addrs, err := Dump(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", name, err)
	}
	var all []netip.Prefix
	for _, a := range addrs {
		if p, ok := prefixOf(a); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

// Addr is an address of an interface, with the length of its subnet.
type Addr struct {
	Interface string
	Alias     string // of the interface; empty: it has none
	netip.Prefix
}

// Addrs returns those addresses of all interfaces, of both families, that are wanted; none of
// the link-local ones of IPv6, which every interface has. An interface is looked up if one
// of its addresses is wanted, since most of many links are containers', without any.
func Addrs(want func(netip.Prefix) bool) ([]Addr, error) {
	list, err := Dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var all []Addr
	links := make(map[int]*netlink.LinkAttrs)
	for _, a := range list {
		p, ok := prefixOf(a)
		if !ok || p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() || !want(p) {
			continue
		}
		if links[a.LinkIndex] == nil {
			link, err := netlink.LinkByIndex(a.LinkIndex)
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				continue // it has gone meanwhile
			}
			if err != nil {
				return nil, fmt.Errorf("look up interface %d: %w", a.LinkIndex, err)
			}
			links[a.LinkIndex] = link.Attrs()
		}
		all = append(all, Addr{links[a.LinkIndex].Name, links[a.LinkIndex].Alias, p})
	}
	return all, nil
}

func prefixOf(a netlink.Addr) (p netip.Prefix, ok bool) {
	ip, ok := netip.AddrFromSlice(a.IP)
	bits, _ := a.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), bits), ok
}

// Subnets returns the subnets that an interface has addresses in, sorted, without
// the link-local ones of IPv6, which every interface has. It returns ErrNoInterface
// if there is no such interface.
func Subnets(name string) ([]netip.Prefix, error) {
	prefixes, err := Prefixes(name)
	if err != nil {
		return nil, err
	}
	var all []netip.Prefix
	for _, p := range prefixes {
		if !p.Addr().Is6() || !p.Addr().IsLinkLocalUnicast() {
			all = append(all, p.Masked())
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all), nil
}

// lookUp returns the link of that name, or ErrNoInterface.
func lookUp(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		err = ErrNoInterface
	}
	if err != nil {
		return nil, fmt.Errorf("look up interface %s: %w", name, err)
	}
	return link, nil
}

// CheckPrivilege returns an error that is unix.EPERM if the kernel would not let this
// process change the network; its text names the program. The kernel is asked, since a
// capability counts only in the user namespace that the network belongs to.
func CheckPrivilege(program string) error {
	// The change of no link: EINVAL for those who might make one.
	request := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (run %s as root, or with the capability CAP_NET_ADMIN)", err, program)
	}
	return nil
}
