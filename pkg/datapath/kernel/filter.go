package kernel

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// filters reads those that carry the owner's name, on all links that can have some.
func (r *reader) filters() error {
	if r.scope.Owner == "" {
		return nil
	}
	disciplines, err := undisturbed(func() ([]netlink.Qdisc, error) { return netlink.QdiscList(nil) })
	if err != nil {
		return err
	}
	for _, q := range disciplines {
		index := q.Attrs().LinkIndex
		if q.Attrs().Parent != netlink.HANDLE_CLSACT || r.links.names[index] == "" {
			continue
		}
		for _, egress := range []bool{false, true} {
			link := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}
			all, err := undisturbed(func() ([]netlink.Filter, error) { return netlink.FilterList(link, parent(egress)) })
			if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
				r.interrupted = true // the link or the discipline went meanwhile
				continue
			}
			if err != nil {
				return err
			}
			for _, f := range all {
				if f, ok := f.(*netlink.BpfFilter); ok && f.Name == r.scope.Owner {
					r.state.Filters = append(r.state.Filters, datapath.Filter{
						Link: r.links.names[index], Egress: egress, Owner: f.Name, Program: uint32(f.Id),
					})
				}
			}
		}
	}
	return nil
}

func parent(egress bool) uint32 {
	if egress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// doFilter attaches the program in place of the one before, of which no packet goes past
// both; or it detaches it.
func doFilter(v datapath.Verb, f datapath.Filter) error {
	link, err := linkByName(f.Link)
	if err != nil {
		return err
	}
	index := link.Attrs().Index
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: parent(f.Egress), Handle: f.Handle(),
			Protocol: unix.ETH_P_IP, Priority: datapath.FilterPriority},
		Fd: f.FD, Name: f.Owner, DirectAction: true,
	}
	if v == datapath.Delete {
		err := netlink.FilterDel(filter)
		if errors.Is(err, unix.EINVAL) { // the discipline is gone
			err = unix.ENOENT
		}
		return err
	}
	err = netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Parent: netlink.HANDLE_CLSACT,
		Handle: netlink.MakeHandle(0xffff, 0)}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make clsact: %w", err)
	}
	return netlink.FilterReplace(filter)
}

// makeGPE makes a VXLAN device with what netlink's library has no fields for.
func makeGPE(l datapath.Link) error {
	const (
		learning, port, metadata, gpe = 7, 15, 25, 27 // IFLA_VXLAN_* of linux/if_link.h
	)
	var data, info, m buffer
	data.attr(learning, []byte{0})
	data.attr(port, []byte{byte(l.VXLAN.Port >> 8), byte(l.VXLAN.Port)})
	data.attr(metadata, []byte{1})
	data.attr(gpe, nil)
	info.attr(unix.IFLA_INFO_KIND, []byte("vxlan"))
	info.attr(unix.IFLA_INFO_DATA, data.b)
	m.begin(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, 1)
	m.b = append(m.b, make([]byte, unix.SizeofIfInfomsg)...)
	m.attr(unix.IFLA_IFNAME, append([]byte(l.Name), 0))
	m.attr(unix.IFLA_MTU, native.AppendUint32(nil, uint32(l.MTU)))
	m.attr(unix.IFLA_LINKINFO, info.b)
	m.end()
	s, err := open()
	if err != nil {
		return err
	}
	defer s.Close()
	var refused error
	err = s.exchange(m.b, 1, 1, func(_ int, h header, payload []byte) bool {
		refused = refusal(h, payload)
		return true
	})
	return errors.Join(err, refused)
}
