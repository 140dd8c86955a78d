package underlay

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"flanneld/backend"
	"flanneld/pkg/logonce"
	"flanneld/pkg/netif"
)

// Watch notices that the external interface has lost what peers know of this host, and
// that it has it again. Nothing else would show it: packets of peers just stop coming.
// It is not safe for concurrent use.
type Watch struct {
	Query  Query
	OwnMTU bool   // the backend follows the interface's MTU itself
	Wake   func() // asks for another look, from any goroutine
	Log    *slog.Logger

	was        backend.Underlay // that of the last look
	complained logonce.Line
	again      *time.Timer // nil: nothing was ever missing
}

// lookAgain is the time between two looks at an interface that lacks its address: no
// event says that a default route is back.
const lookAgain = time.Second

// Look compares the external interface with u. It returns what differs, in words, and
// what the interface is now: u itself if that cannot be found out. The text is empty if
// nothing differs.
func (w *Watch) Look(u backend.Underlay) (now backend.Underlay, what string) {
	if u != w.was {
		w.was, w.complained = u, logonce.Line{}
	}
	what, mtu := w.compare(u)
	switch {
	case what == "":
		if w.complained.Changed("") {
			w.Log.Info("The external interface is as it was again")
		}
	case mtu != 0:
		u.MTU = mtu
	default:
		if found, err := Find(w.Query, slog.New(slog.DiscardHandler)); err == nil {
			u = found
		}
	}
	return u, what
}

// compare returns how the interface differs from u. If it differs only in its MTU, mtu
// is the one that it has, in bytes; else mtu is zero.
func (w *Watch) compare(u backend.Underlay) (what string, mtu int) {
	is, err := net.InterfaceByName(u.Name)
	if err != nil {
		return fmt.Sprintf("find interface %s: %v", u.Name, err), 0
	}
	addrs, err := netif.Prefixes(u.Name)
	if err != nil {
		return err.Error(), 0
	}
	var all []netip.Prefix // of this host, for a public address that may be on any interface
	if w.Query.PublicIP.IsValid() || w.Query.PublicIPv6.IsValid() {
		if all, err = netif.Prefixes(""); err != nil {
			return err.Error(), 0
		}
	}
	for _, family := range []struct{ own, public netip.Addr }{{u.V4, plain(w.Query.PublicIP)}, {u.V6, plain(w.Query.PublicIPv6)}} {
		switch own, public := family.own, family.public; {
		case !own.IsValid() || own == public && has(all, own):
		case public.IsValid() && has(all, public):
			return fmt.Sprintf("this host has the address %s, and had not", public), 0
		case !has(addrs, own):
			return fmt.Sprintf("%s no longer has the address %s but %v", u.Name, own, addrs), 0
		}
	}
	switch {
	case is.Index != u.Index:
		return u.Name + " is another interface than it was", 0
	case is.MTU != u.MTU && !w.OwnMTU:
		return fmt.Sprintf("%s has the MTU %d, and had %d", u.Name, is.MTU, u.MTU), is.MTU
	}
	return "", 0
}

func has(all []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Addr() == ip })
}

// Complain logs what differs, which cannot be followed, and asks for another look soon.
func (w *Watch) Complain(what string) {
	if w.again != nil {
		w.again.Stop()
	}
	w.again = time.AfterFunc(lookAgain, w.Wake)
	if w.complained.Changed(what) {
		w.Log.Error("The external interface has changed, and peers send to an address that this host no longer has; "+
			"give it an address", "what", what)
	}
}
