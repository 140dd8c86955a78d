package host

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"flanneld/pkg/netif"
)

// Problem is what is wrong with the host, and what an operator can do about it. The zero
// Problem: nothing is.
type Problem struct{ What, Remedy string }

// CheckBridge says why containers on Docker's bridge cannot be reached, or not with
// large packets. A bridge that does not exist, or has no address yet, is no problem. An
// error says that the bridge cannot be read, as while Docker makes it.
func CheckBridge(name string, told Handover) (Problem, error) {
	b := bridge{name: name}
	var err error
	if b.large, err = netif.LargePorts(name, told.MTU); b.large == nil || err != nil {
		return Problem{}, err
	}
	if b.addrs, err = netif.Prefixes(name); err != nil {
		return Problem{}, err
	}
	b.addrs = slices.DeleteFunc(b.addrs, func(p netip.Prefix) bool { return !p.Addr().Is4() })
	return b.check(told.Key.V4, told.MTU), nil
}

// bridge is what there is of Docker's bridge. Its own MTU means nothing: it follows its
// ports'.
type bridge struct {
	name  string
	addrs []netip.Prefix // IPv4, with the lengths of their subnets
	large map[string]int // MTU, in bytes, by name, of the ports that have too large a one
}

func (b bridge) check(subnet netip.Prefix, mtu int) Problem {
	if len(b.addrs) == 0 {
		return Problem{}
	}
	if !slices.ContainsFunc(b.addrs, func(p netip.Prefix) bool { return p.Masked() == subnet }) {
		first := netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
		return Problem{fmt.Sprintf("%s has %s, which is not this host's subnet %s", b.name, b.addrs[0], subnet),
			fmt.Sprintf("restart Docker with what the subnet file says (--bip=%s --mtu=%d), or name the bridge that has it with --docker-bridge", first, mtu)}
	}
	var large []string
	for name, has := range b.large {
		large = append(large, fmt.Sprintf("%s %d", name, has))
	}
	if len(large) == 0 {
		return Problem{}
	}
	return Problem{fmt.Sprintf("%d of the containers on %s have an MTU above the overlay's %d (%s)", len(large), b.name, mtu, slices.Min(large)),
		fmt.Sprintf("restart Docker with --mtu=%d, and make the containers anew", mtu)}
}

// ipForward says whether the kernel passes packets on from one interface to another.
const ipForward = "/proc/sys/net/ipv4/ip_forward"

// CheckForwarding says whether the kernel forwards nothing. Docker switches forwarding
// on when it makes its bridge, and does not look again.
func CheckForwarding() Problem { return checkForwarding(ipForward) }

func checkForwarding(path string) Problem {
	text, err := os.ReadFile(path)
	if err != nil || strings.TrimSpace(string(text)) != "0" {
		return Problem{}
	}
	return Problem{"net.ipv4.ip_forward is 0, so that no packet of a container leaves this host or comes in",
		"sysctl -w net.ipv4.ip_forward=1, and find out what switched it off, such as a file in /etc/sysctl.d"}
}
