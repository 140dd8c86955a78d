package config

import (
	"flanneld/pkg/words"
	"fmt"
	"net/netip"
)

// family names one family's keys and limits.
type family struct {
	network, length, min, max string
	bits                      int // of an address
	longest                   int // SubnetLen
	preferred                 int // SubnetLen in a Network that is large enough for it
	example                   string
}

var (
	v4Fields = family{"Network", "SubnetLen", "SubnetMin", "SubnetMax", 32, 30, 24, "10.100.0.0/16"}
	v6Fields = family{"IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax", 128, 126, 64, "fd00:100::/48"}
)

// special are networks whose addresses are no host's, or mean something else on each host.
// A container that had one would not be reached, or the host would not.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// rangeOf applies the rules for one family (those since 0.10). It takes note of all that is
// wrong, and returns the zero Range then.
func (f family) rangeOf(d *document, network *string, length *int, least, most *string) Range {
	if d.faulty(f.network) {
		return Range{}
	}
	r, err := f.networkOf(d, network)
	if err != nil {
		d.wrong.Add(err)
		return Range{}
	}
	r.bounded = least != nil || most != nil
	if r.SubnetLen, err = f.subnetLen(d, r.Network, length); err != nil {
		d.wrong.Add(err)
	}
	if r.SubnetLen == 0 {
		return Range{} // no length would do
	}
	// Every release leaves the first subnet free unless it is asked for.
	r.Min, r.Max = nextSubnet(r.Network.Addr(), r.SubnetLen), lastSubnet(r.Network, r.SubnetLen)
	r.Min, err = f.bound(d, f.min, least, r, r.Min)
	d.wrong.Add(err)
	r.Max, err = f.bound(d, f.max, most, r, r.Max)
	d.wrong.Add(err)
	switch {
	case d.faulty(f.length) || d.faulty(f.min) || d.faulty(f.max):
		return Range{}
	case !r.Max.Less(r.Min):
		return r
	case least == nil:
		d.wrong.Add(d.errorf(f.max, fmt.Sprintf("raise it or set %s to %s", f.min, r.Network.Addr()),
			"%s %s lies before %s, which is %s if it is not set", f.max, r.Max, f.min, r.Min))
	default:
		d.wrong.Add(d.errorf(f.min, "swap them", "%s %s lies after %s %s", f.min, r.Min, f.max, r.Max))
	}
	return Range{}
}

// networkOf returns a range with nothing but its network.
func (f family) networkOf(d *document, network *string) (Range, error) {
	if network == nil {
		return Range{}, d.missing(f.network, f.example)
	}
	p, err := netip.ParsePrefix(*network)
	if err != nil || p.Addr().BitLen() != f.bits || p.Addr().Is4In6() {
		return Range{}, d.errorf(f.network, fmt.Sprintf("write it as %q", f.example), "%s %q is not a network", f.network, words.Clip(*network))
	}
	r := Range{Network: p.Masked()}
	for _, s := range special {
		if s.Overlaps(r.Network) {
			return Range{}, d.errorf(f.network, fmt.Sprintf("write a private network that no host is in, such as %q", f.example),
				"%s %s overlaps %s, which is not for containers", f.network, r.Network, s)
		}
	}
	if p != r.Network {
		d.warnf("%s %s has bits set beyond its length; it is read as %s", f.network, p, r.Network)
	}
	return r, nil
}

// subnetLen returns with an error a length that would do, or zero if none would.
func (f family) subnetLen(d *document, network netip.Prefix, length *int) (int, error) {
	// Four subnets at least: the first is left free, and one host is no network.
	shortest := network.Bits() + 2
	if shortest > f.longest {
		return 0, d.errorf(f.network, fmt.Sprintf("a network of /%d or larger is needed", f.longest-2),
			"Network is too small. Minimum useful network prefix is /%d", f.longest-2)
	}
	if length == nil {
		if shortest <= f.preferred {
			return f.preferred, nil
		}
		if network.Addr().Is4() {
			d.warnf("no SubnetLen for the Network %s: it is /%d, but /%d in releases before 0.10; set SubnetLen if hosts with these are in the cluster",
				network, shortest, max(24, network.Bits()+1))
		}
		return shortest, nil
	}
	switch {
	case *length > f.longest:
		return max(f.preferred, shortest), d.errorf(f.length, fmt.Sprintf("%d is the longest", f.longest), "%s must be less than /%d", f.length, f.longest+1)
	case *length < shortest:
		return max(f.preferred, shortest), d.errorf(f.length, fmt.Sprintf("in %s it is %d or more; without it, a default is chosen", network, shortest),
			"Network must be able to accommodate at least four subnets; %s is %d", f.length, *length)
	}
	return *length, nil
}

// bound reads SubnetMin or SubnetMax; without one it is what absent says.
func (f family) bound(d *document, name string, written *string, r Range, absent netip.Addr) (netip.Addr, error) {
	if written == nil {
		return absent, nil
	}
	a, err := netip.ParseAddr(*written)
	if err != nil || a.BitLen() != f.bits || a.Zone() != "" {
		return a, d.errorf(name, fmt.Sprintf("write an address without a length, such as %q", absent), "%s %q is not an address", name, words.Clip(*written))
	}
	if !r.Network.Contains(a) {
		return a, d.errorf(name, fmt.Sprintf("the first subnet is %s, the last %s", r.Network.Addr(), lastSubnet(r.Network, r.SubnetLen)),
			"%s is not in the range of the Network: %s is outside %s", name, a, r.Network)
	}
	if near := nearestSubnet(a, r); near != a && !d.faulty(f.length) {
		return a, d.errorf(name, fmt.Sprintf("the nearest subnet begins at %s", near),
			"%s is not on a SubnetLen boundary: %s begins no /%d", name, a, r.SubnetLen)
	}
	return a, nil
}

// nearestSubnet returns the network address within the Network that is nearest
// to a: a itself if it is one.
func nearestSubnet(a netip.Addr, r Range) netip.Addr {
	below := netip.PrefixFrom(a, r.SubnetLen).Masked().Addr()
	// The highest bit that does not belong to the subnet tells the half.
	b := a.AsSlice()
	if b[r.SubnetLen/8]&(0x80>>(r.SubnetLen%8)) == 0 {
		return below
	}
	if above := nextSubnet(below, r.SubnetLen); r.Network.Contains(above) {
		return above
	}
	return below
}

// nextSubnet returns the network address of the subnet of the given length
// after the one that begins at a; the zero Addr after the last of all.
func nextSubnet(a netip.Addr, length int) netip.Addr {
	return lastSubnet(netip.PrefixFrom(a, length), a.BitLen()).Next()
}

// lastSubnet returns the network address of the last subnet of the given length
// in a network.
func lastSubnet(network netip.Prefix, length int) netip.Addr {
	b := network.Addr().AsSlice()
	for i := network.Bits(); i < length; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}
