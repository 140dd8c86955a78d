package host

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"flanneld/backend/underlay"
	"flanneld/pkg/datapath"
	"flanneld/pkg/netif"
)

// RouteProtocol marks our routes (rtnetlink(7)). No registered routing daemon
// has this number.
const RouteProtocol = 102

// maxAlias bounds an alias, in bytes (IFALIASZ and its final zero).
const maxAlias = 255

// Owner returns the alias of the devices of the network below an etcd prefix. One that is
// too long is cut, and ends with what tells it from others.
func Owner(etcdPrefix string) string {
	alias := underlay.AliasPrefix + etcdPrefix
	if len(alias) <= maxAlias {
		return alias
	}
	sum := sha256.Sum256([]byte(etcdPrefix))
	mark := fmt.Sprintf(" %x", sum[:4])
	return alias[:maxAlias-len(mark)] + mark
}

// Owners returns the aliases of the devices here that daemons have made.
func Owners() (owners []string, err error) {
	aliases, err := netif.Aliases()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, alias := range aliases {
		if strings.HasPrefix(alias, underlay.AliasPrefix) {
			owners = append(owners, alias)
		}
	}
	slices.Sort(owners)
	return slices.Compact(owners), nil
}

// ClaimDevice makes a device this process's until release is called. It is an error if
// the daemon of another network runs and has it: each would make it its own again and
// again. A device whose daemon is gone may be taken.
//
// This is not LockNetwork, which keeps a second daemon of the same network away: that lock
// is taken before the network's devices are known, and two networks have two. The claim
// is an abstract socket (unix(7)), which belongs to the network namespace, as the device
// does, and goes with the process. Any user can bind it, so it proves nothing without the
// device's alias.
func ClaimDevice(ctx context.Context, device, owner string, kern datapath.Kernel) (release func(), err error) {
	claim, err := claimDevice(device)
	switch {
	case err == nil:
		return func() { _ = claim.Close() }, nil
	case !errors.Is(err, unix.EADDRINUSE):
		return func() {}, nil // nobody can tell, and nobody is hindered
	}
	have, err := kern.Read(ctx, datapath.Scope{Links: []string{device}})
	if err != nil {
		return nil, fmt.Errorf("look whose interface %s is: %w", device, err)
	}
	for _, l := range have.Links {
		if other, ours := strings.CutPrefix(l.Alias, underlay.AliasPrefix); l.Name == device && ours && l.Alias != owner {
			return nil, fmt.Errorf("interface %s is that of another flanneld on this host, with --etcd-prefix=%s: "+
				"give each network a VNI of its own, in \"Backend\"", device, other)
		}
	}
	return func() {}, nil
}

func claimDevice(device string) (*net.UnixConn, error) {
	return net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@flanneld " + device, Net: "unixgram"})
}

// Claims are devices of fixed names that the daemon can do without.
type Claims struct{ claims map[string]*net.UnixConn }

// Claim is ClaimDevice for such a device, which may be called again. The claim of another
// process is enough to refuse it: two daemons that start at once see no device yet.
func (c *Claims) Claim(device string) error {
	if c.claims[device] != nil {
		return nil
	}
	claim, err := claimDevice(device)
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("interface %s is that of another flanneld on this host", device)
	}
	if err == nil {
		if c.claims == nil {
			c.claims = make(map[string]*net.UnixConn)
		}
		c.claims[device] = claim
	}
	return nil
}

// Release gives them up.
func (c *Claims) Release() {
	for _, claim := range c.claims {
		_ = claim.Close()
	}
}
