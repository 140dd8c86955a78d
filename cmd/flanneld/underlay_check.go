package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"flanneld/backend"
	"flanneld/pkg/netif"
)

// underlayCheck finds out when the external interface loses what peers know of
// this host, and when it has it again. Nothing else would tell: packets of peers
// just stop coming.
type underlayCheck struct {
	underlay backend.Underlay
	ownMTU   bool // the backend follows the interface's MTU itself
	log      *slog.Logger
	said     string
	again    *time.Timer // looks again; nil: nothing was ever missing
}

// lookAgain is how often an interface is looked at that lacks its address: nobody
// notices when a default route comes back.
const lookAgain = time.Second

// look compares the interface with what it was, and returns how it differs; empty:
// it does not. If it is only by its MTU, which counts if the backend cannot follow that by
// itself, mtu is the one that it has, in bytes; else it is zero.
func (u *underlayCheck) look() (what string, mtu int) {
	is, err := net.InterfaceByName(u.underlay.Name)
	if err != nil {
		return fmt.Sprintf("find interface %s: %v", u.underlay.Name, err), 0
	}
	now, err := netif.Prefixes(u.underlay.Name)
	if err != nil {
		return err.Error(), 0
	}
	if missing := u.missing(now); missing.IsValid() {
		return fmt.Sprintf("%s no longer has the address %s but %v", u.underlay.Name, missing, now), 0
	}
	if is.Index != u.underlay.Index {
		return u.underlay.Name + " is another interface than it was", 0
	}
	if is.MTU != u.underlay.MTU && !u.ownMTU {
		return fmt.Sprintf("%s has the MTU %d, and had %d", u.underlay.Name, is.MTU, u.underlay.MTU), is.MTU
	}
	if u.said != "" {
		u.log.Info("The external interface is as it was again")
		u.said = ""
	}
	return "", 0
}

// complain says what look found, if it cannot be followed, and has it looked at
// again.
func (u *underlayCheck) complain(what string, again func()) {
	if u.again != nil {
		u.again.Stop()
	}
	u.again = time.AfterFunc(lookAgain, again)
	if what != u.said {
		u.log.Error("The external interface has changed under us, and peers send to where this host no longer is; "+
			"give it an address", "what", what)
		u.said = what
	}
}

func (u *underlayCheck) missing(now []netip.Prefix) netip.Addr {
	for _, own := range []netip.Addr{u.underlay.V4, u.underlay.V6} {
		if own.IsValid() && !slices.ContainsFunc(now, func(p netip.Prefix) bool { return p.Addr() == own }) {
			return own
		}
	}
	return netip.Addr{}
}
