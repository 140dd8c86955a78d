package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// checkMembers settles who the members are and which one this is, from --cluster
// if there is one, else from etcd's own flags.
func (v values) checkMembers(o *options, local func() ([]netip.Addr, error)) (err error) {
	const listen, advertise, initial, state = "listen-peer-urls", "initial-advertise-peer-urls", "initial-cluster", "initial-cluster-state"
	switch v.text[state] {
	case "new":
	case "existing":
		o.Join = true
	default:
		return usageError{Msg: fmt.Sprintf("invalid value %q for %s", v.text[state], v.from(state)), Hint: "give new or existing"}
	}
	if v.text["cluster"] != "" {
		if v.text[initial] != "" {
			return usageError{Msg: v.from("cluster") + " and " + v.from(initial) + " are both given", Hint: "give only one of them"}
		}
		if err := v.expand(o, local); err != nil {
			return err
		}
	}
	if o.Name == "" {
		o.Name = "flannel-etcd"
	}
	if o.Peers == nil || v.source[listen] != "" {
		if o.Peers, err = parseURLs(v.text[listen], v.from(listen), true); err != nil {
			return err
		}
	}
	if o.AdvertisePeers == nil {
		o.AdvertisePeers = slices.Clone(o.Peers)
	}
	if v.text[advertise] != "" {
		if o.AdvertisePeers, err = parseURLs(v.text[advertise], v.from(advertise), false); err != nil {
			return err
		}
	}
	if v.text[initial] != "" {
		if o.Members, err = parseMembers(v.text[initial], v.from(initial)); err != nil {
			return err
		}
	}
	if o.Members == nil {
		o.Members = []member{{o.Name, o.AdvertisePeers}}
	}
	if err := scheme(o.Peers, o.PeerTLS, v.from(listen), "--peer-cert-file, --peer-key-file and --peer-trusted-ca-file"); err != nil {
		return err
	}
	return v.checkSelf(o, initial)
}

// checkSelf makes sure that this member is one of them: etcd would say so late,
// and in words that name no flag.
func (v values) checkSelf(o *options, initial string) error {
	if v.text["cluster"] != "" {
		initial = "cluster"
	}
	i := slices.IndexFunc(o.Members, func(m member) bool { return m.Name == o.Name })
	if i < 0 {
		return usageError{
			Msg:  fmt.Sprintf("%s has no member %q, which is this one's name", v.from(initial), o.Name),
			Hint: "make --name one of those in the list",
		}
	}
	if want := o.Members[i].URLs; !sameURLs(want, o.AdvertisePeers) {
		return usageError{
			Msg:  fmt.Sprintf("%s has %s for %s, and other members would be told %s", v.from(initial), want, o.Name, o.AdvertisePeers),
			Hint: "make --initial-advertise-peer-urls the same",
		}
	}
	return nil
}

func sameURLs(a, b urls) bool {
	sorted := func(us urls) []string { return slices.Sorted(strings.SplitSeq(us.String(), ",")) }
	return slices.Equal(sorted(a), sorted(b))
}

// expand sets what follows from --cluster.
func (v values) expand(o *options, local func() ([]netip.Addr, error)) error {
	from := v.from("cluster")
	addrs, err := parseCluster(v.text["cluster"], from)
	if err != nil {
		return err
	}
	s := "http"
	if o.PeerTLS.Cert != "" {
		s = "https"
	}
	for _, a := range addrs {
		name := a.String()
		if a.Port() == peerPort {
			name = a.Addr().String()
		}
		o.Members = append(o.Members, member{name, urls{{Scheme: s, Host: a.String()}}})
	}
	i := slices.IndexFunc(o.Members, func(m member) bool { return m.Name == o.Name })
	if o.Name == "" {
		if i, err = self(addrs, from, local); err != nil {
			return err
		}
	}
	if i < 0 {
		return nil // the check of the name says so
	}
	o.Name, o.Peers, o.AdvertisePeers = o.Members[i].Name, o.Members[i].URLs, o.Members[i].URLs
	return nil
}

// parseCluster reads addresses with or without port. No two are the same.
func parseCluster(list, from string) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		p, err := netip.ParseAddrPort(s)
		if a, e := netip.ParseAddr(s); e == nil {
			p, err = netip.AddrPortFrom(a, peerPort), nil
		}
		p = netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
		if err != nil || p.Addr().IsUnspecified() || p.Addr().IsMulticast() || p.Addr().Zone() != "" || p.Port() == 0 {
			return nil, usageError{
				Msg:  fmt.Sprintf("invalid address %q in %s", s, from),
				Hint: "give one address per member, such as 192.0.2.1,192.0.2.2,192.0.2.3",
			}
		}
		if slices.Contains(out, p) {
			return nil, usageError{Msg: fmt.Sprintf("%s has %s twice", from, s), Hint: "give each member's address once"}
		}
		out = append(out, p)
	}
	return out, nil
}

// self finds the one that is this host's.
func self(addrs []netip.AddrPort, from string, local func() ([]netip.Addr, error)) (int, error) {
	here, err := local()
	if err != nil {
		return 0, usageError{Msg: "list this host's addresses: " + err.Error(), Hint: "say with --name which one in " + from + " it is"}
	}
	found := -1
	for i, a := range addrs {
		if !a.Addr().IsLoopback() && !slices.Contains(here, a.Addr()) {
			continue
		}
		if found >= 0 {
			return 0, usageError{
				Msg:  fmt.Sprintf("%s and %s in %s are both this host's", addrs[found], a, from),
				Hint: "say with --name which one it is",
			}
		}
		found = i
	}
	if found < 0 {
		return 0, usageError{
			Msg:  "no address in " + from + " is this host's",
			Hint: fmt.Sprintf("its addresses are %v; if the one in the list is translated, give --name and --listen-peer-urls", here),
		}
	}
	return found, nil
}

// localAddrs returns the addresses of this host's interfaces, loopback ones
// left out.
func localAddrs() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
			out = append(out, p.Addr().WithZone(""))
		}
	}
	return out, nil
}

// parseMembers reads NAME=URL,…; a name with several URLs is there several
// times.
func parseMembers(list, from string) ([]member, error) {
	var out []member
	for s := range strings.SplitSeq(list, ",") {
		name, rest, ok := strings.Cut(strings.TrimSpace(s), "=")
		if !ok || name == "" {
			return nil, usageError{
				Msg:  fmt.Sprintf("invalid member %q in %s", s, from),
				Hint: "write NAME=URL, such as one=http://192.0.2.1:2380",
			}
		}
		u, err := parseURL(rest, from, false)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(out, func(m member) bool { return m.Name == name })
		if i < 0 {
			out = append(out, member{Name: name})
			i = len(out) - 1
		}
		out[i].URLs = append(out[i].URLs, u)
	}
	return out, nil
}
