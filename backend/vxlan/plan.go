package vxlan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

var (
	errOwnMAC  = errors.New("its VtepMAC is this host's own: was the machine cloned with its state directory?")
	errSameMAC = errors.New("its VtepMAC is another peer's: was a machine cloned with its state directory?")
)

// plan returns the wanted state. Direct holds the interfaces of peers that are
// reached by plain routing, by their PublicIP.
func (b *Backend) plan(planes []backend.Plane, direct map[netip.Addr]string) backend.Plan {
	s := datapath.State{Routes: backend.Blackholes(planes, b.scope.Protocol)}
	var p backend.Plan
	b.vteps.forget(planes)
	for _, plane := range planes {
		dev := b.link(plane.Network.Addr().Is6())
		s.Links = append(s.Links, dev)
		// A host that has DirectRouting sends packets without a tunnel, and it is
		// likely that all hosts have it.
		p.Ingress = append(p.Ingress, backend.Ingress{Device: dev.Name, Direct: b.opts.DirectRouting, Port: b.opts.Port, Kernel: true, VNI: b.opts.VNI})
		gateway := plane.Subnet.Addr()
		s.Addrs = append(s.Addrs, datapath.Addr{Link: dev.Name, Prefix: netip.PrefixFrom(gateway, gateway.BitLen())})
		n := len(plane.Peers)
		s.FDB, s.Neighs, s.Routes = slices.Grow(s.FDB, n), slices.Grow(s.Neighs, n), slices.Grow(s.Routes, n)
		seen := make(map[datapath.MAC]netip.Addr, n) // the PublicIP of each
		for _, peer := range plane.Peers {
			if link := direct[peer.PublicIP]; link != "" {
				s.Routes = append(s.Routes, datapath.Route{
					Dst: peer.Subnet, Gateway: peer.PublicIP, Link: link,
					Protocol: b.scope.Protocol, Metric: backend.Metric(peer.Subnet),
				})
				continue
			}
			mac, err := b.vteps.of(peer)
			at, twice := seen[mac]
			switch {
			case err != nil:
			case mac == dev.MAC:
				err = errOwnMAC
			case twice && at != peer.PublicIP:
				err = errSameMAC
			}
			if err != nil {
				p.Skipped = append(p.Skipped, backend.Skip{Subnet: peer.Subnet, Reason: err})
				continue
			}
			if !twice { // or it is a host with two subnets
				seen[mac] = peer.PublicIP
				s.FDB = append(s.FDB, datapath.FDBEntry{Link: dev.Name, MAC: mac, Dst: peer.PublicIP})
			}
			s.Neighs = append(s.Neighs, datapath.Neigh{Link: dev.Name, IP: peer.Subnet.Addr(), MAC: mac})
			s.Routes = append(s.Routes, datapath.Route{
				Dst: peer.Subnet, Gateway: peer.Subnet.Addr(), Link: dev.Name, OnLink: true,
				Protocol: b.scope.Protocol, Metric: backend.Metric(peer.Subnet),
			})
		}
	}
	p.State = s
	return p
}

// link returns the wanted device of a family.
func (b *Backend) link(v6 bool) datapath.Link {
	local, overhead := b.underlay.V4, overheadV4
	if v6 {
		local, overhead = b.underlay.V6, overheadV6
	}
	return datapath.Link{
		Name: b.device(v6), Kind: "vxlan", Alias: b.scope.Owner, Up: true,
		MTU: b.opts.MTU - overhead, MAC: b.macs.known[b.device(v6)],
		VXLAN: datapath.VXLAN{
			VNI: b.opts.VNI, Parent: b.underlay.Name, Local: local,
			Port: b.opts.Port, Learning: b.opts.Learning, GBP: b.opts.GBP,
		},
	}
}

// vteps are the MACs of peers that were read already, by their Data.
type vteps map[string]datapath.MAC

// forget forgets all when most are of peers that are gone.
func (v vteps) forget(planes []backend.Plane) {
	n := 0
	for _, plane := range planes {
		n += len(plane.Peers)
	}
	if len(v) > 2*n {
		clear(v)
	}
}

func (v vteps) of(peer subnet.Claim) (datapath.MAC, error) {
	mac, ok := v[peer.Data]
	if ok {
		return mac, nil
	}
	mac, err := vtep(peer)
	if err == nil {
		v[peer.Data] = mac
	}
	return mac, err
}

// vtep reads a peer's MAC from its lease. Any form that net.ParseMAC knows is
// accepted, as by every reader.
func vtep(peer subnet.Claim) (datapath.MAC, error) {
	var data struct{ VtepMAC string }
	if err := json.Unmarshal([]byte(peer.Data), &data); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			// Its text has the whole number that stands there, however long.
			return datapath.MAC{}, fmt.Errorf("read its BackendData: the %.20s at byte %d is not what belongs there", wrong.Value, wrong.Offset)
		}
		return datapath.MAC{}, fmt.Errorf("read its BackendData: %w", err)
	}
	mac, err := datapath.ParseMAC(data.VtepMAC)
	if err != nil {
		return datapath.MAC{}, fmt.Errorf("read its VtepMAC: %w", err)
	}
	if !mac.Unicast() {
		return datapath.MAC{}, fmt.Errorf("its VtepMAC %s is no interface's", mac)
	}
	return mac, nil
}

// direct returns the peers that need no tunnel with DirectRouting, by their PublicIP,
// and the interface on which each is a neighbour. The kernel sends to these without a
// gateway. It is nil without DirectRouting.
func (b *Backend) direct(ctx context.Context, planes []backend.Plane) (map[netip.Addr]string, error) {
	if !b.opts.DirectRouting {
		return nil, nil
	}
	var peers []netip.Addr
	for _, plane := range planes {
		for _, peer := range plane.Peers {
			peers = append(peers, peer.PublicIP)
		}
	}
	hops, err := b.kernel.NextHops(ctx, b.scope, []netip.Addr{b.underlay.V4, b.underlay.V6}, peers)
	if err != nil {
		return nil, fmt.Errorf("find peers that need no tunnel: %w", err)
	}
	direct := make(map[netip.Addr]string)
	for i, hop := range hops {
		if hop.Link != "" && !hop.Gateway.IsValid() {
			direct[peers[i]] = hop.Link
		}
	}
	return direct, nil
}
