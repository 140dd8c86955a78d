package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"flanneld/backend"
)

// underlayCheck says when the external interface loses what peers know of this
// host, and when it has it again. Nothing else would tell: packets of peers just
// stop coming.
type underlayCheck struct {
	underlay backend.Underlay
	log      *slog.Logger
	said     string
}

// look compares the interface with what it was at the start.
func (u *underlayCheck) look() {
	text := ""
	if now, err := addrsOf(u.underlay.Name); err != nil {
		text = err.Error()
	} else if missing := u.missing(now); missing.IsValid() {
		text = fmt.Sprintf("%s no longer has the address %s but %v", u.underlay.Name, missing, now)
	}
	switch {
	case text == u.said:
	case text == "":
		u.log.Info("The external interface is as it was again")
	default:
		u.log.Error("The external interface has changed under us, and peers send to where this host no longer is; "+
			"give it its address back or restart flanneld", "what", text)
	}
	u.said = text
}

func (u *underlayCheck) missing(now []netip.Addr) netip.Addr {
	for _, own := range []netip.Addr{u.underlay.V4, u.underlay.V6} {
		if own.IsValid() && !slices.Contains(now, own) {
			return own
		}
	}
	return netip.Addr{}
}

// addrsOf lists an interface's addresses.
func addrsOf(iface string) ([]netip.Addr, error) {
	prefixes, err := prefixesOf(iface)
	var all []netip.Addr
	for _, p := range prefixes {
		all = append(all, p.Addr())
	}
	return all, err
}

// prefixesOf lists an interface's addresses with the lengths of their subnets.
func prefixesOf(iface string) ([]netip.Prefix, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", iface, err)
	}
	addrs, err := i.Addrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", iface, err)
	}
	var all []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p)
		}
	}
	return all, nil
}
