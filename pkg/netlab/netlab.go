// Package netlab builds small networks of Linux hosts on one machine, each host
// a network namespace, for tests and demonstrations that need real packets.
//
// In the middle is the switch, a namespace with one bridge per underlay subnet
// that also routes between them. Each host is joined to its subnet's bridge by
// a veth pair, and each container to a bridge on its host. The package decides
// names, wiring and addresses; it starts no processes and knows nothing of
// what runs in the hosts. Nothing it does can be seen from outside the
// namespaces, and no packet leaves them.
//
// It drives the ip command of iproute2 and needs root.
package netlab

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
)

// Lab is a network of hosts. It is not safe for concurrent use, and neither are
// its hosts, except for their Command methods.
type Lab struct {
	prefix  string // of every namespace's name
	sw      *Host
	hosts   map[string]*Host
	bridges map[netip.Prefix]string // underlay subnet → bridge in the switch
	spaces  []string                // namespaces in order of creation
}

// validName keeps names usable as an interface's name beside its suffix: the
// kernel allows 15 bytes.
var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,11}$`)

// Supported returns nil if this process can build a lab, and otherwise an error
// saying what is missing, fit as a reason to skip a test.
func Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("making network namespaces needs root")
	}
	for _, program := range []string{"ip", "sysctl"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed", program)
		}
	}
	return nil
}

// New makes a lab that has a switch and no hosts. Several labs can exist on a
// machine at once: each has a random prefix to its namespaces' names.
func New() (*Lab, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("choose lab name: %w", err)
	}
	l := &Lab{
		prefix:  "lab" + hex.EncodeToString(id[:]),
		hosts:   make(map[string]*Host),
		bridges: make(map[netip.Prefix]string),
	}
	ns, err := l.namespace("switch")
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.sw = &Host{Namespace: ns, lab: l}
	return l, nil
}

// Switch returns the namespace in the middle, for services that every host
// must reach. It has the first address of each underlay subnet and no container
// or reboot.
func (l *Lab) Switch() *Host { return l.sw }

// Name returns the name of the lab, for RemoveRemains.
func (l *Lab) Name() string { return l.prefix }

// Close deletes every namespace of the lab, and with them all devices. The
// caller ends its processes first: if one is left, Close deletes the namespace's
// name and returns an error, since the kernel keeps the rest of the namespace
// until the process ends. Close may be called again.
func (l *Lab) Close() error {
	var errs []error
	for _, name := range slices.Backward(l.spaces) {
		errs = append(errs, deleteNamespace(name))
	}
	l.spaces = nil
	return errors.Join(errs...)
}

// namespace makes a namespace with a running loopback that forwards packets.
func (l *Lab) namespace(suffix string) (Namespace, error) {
	ns := Namespace{name: l.prefix + "-" + suffix}
	if err := run("ip", "netns", "add", ns.name); err != nil {
		return Namespace{}, err
	}
	l.spaces = append(l.spaces, ns.name)
	return ns, errors.Join(
		ns.ip("link", "set", "lo", "up"),
		// Docker sets forwarding on every host, and the switch routes. A container
		// has one interface, where it makes no difference.
		// There are no duplicate IPv6 addresses here, and looking for them keeps a
		// new interface from resolving neighbours for a second or two.
		ns.Run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
			"net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"),
	)
}

// remove deletes one namespace of the lab.
func (l *Lab) remove(name string) error {
	l.spaces = slices.DeleteFunc(l.spaces, func(s string) bool { return s == name })
	return deleteNamespace(name)
}

// bridge returns the switch's bridge for the underlay subnet, which it makes on
// first use.
func (l *Lab) bridge(subnet netip.Prefix) (string, error) {
	if name, ok := l.bridges[subnet]; ok {
		return name, nil
	}
	for other := range l.bridges {
		if other.Overlaps(subnet) {
			return "", fmt.Errorf("add underlay subnet %s: overlaps %s", subnet, other)
		}
	}
	name := fmt.Sprintf("br%d", len(l.bridges))
	addr := netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
	if err := l.sw.ipAll(
		[]string{"link", "add", name, "type", "bridge"},
		[]string{"addr", "add", addr.String(), "dev", name},
		[]string{"link", "set", name, "up"},
	); err != nil {
		return "", fmt.Errorf("add underlay subnet %s: %w", subnet, err)
	}
	l.bridges[subnet] = name
	return name, nil
}
