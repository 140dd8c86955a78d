package main

import (
	"net/netip"

	"flanneld/backend"
	"flanneld/backend/underlay"
	"flanneld/subnet"
)

// moved follows a move of the host: it tells the peers where this host is now. Its
// lease keeps its subnet.
func (d *daemon) moved(to backend.Underlay, next backend.Backend) error {
	d.firewall.SetUnderlay(to.Name)
	if local, err := underlay.Local(to.Name, []netip.Prefix{d.cfg.V4.Network, d.cfg.V6.Network}, d.log); err != nil {
		d.log.Debug("The subnets that this host is in are taken for those of before", "err", err)
	} else {
		d.mu.Lock()
		d.local = local
		d.mu.Unlock()
	}
	d.store.Moved()
	claims, err := backend.Claims(next, to, d.cfg.V6.Enabled())
	if err != nil {
		return err
	}
	d.mu.Lock()
	same := claims == d.claimed
	d.claimed = claims
	d.lease = claiming(d.lease, claims)
	d.mu.Unlock()
	if same {
		return nil // nothing that peers need to know
	}
	select {
	case <-d.claimsChanged: // older claims, which nobody has taken
	default:
	}
	d.claimsChanged <- claims // nobody else sends
	return nil
}

// claiming returns a lease with other claims on the same subnets.
func claiming(l, claims subnet.Lease) subnet.Lease {
	claims.V4.Subnet, claims.V6.Subnet = l.V4.Subnet, l.V6.Subnet
	l.V4, l.V6, l.Type = claims.V4, claims.V6, claims.Type
	return l
}
