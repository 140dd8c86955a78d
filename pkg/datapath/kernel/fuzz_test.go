package kernel

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzMessages takes what a netlink socket could return. Messages lie within it,
// and no payload breaks a parser or is taken for what is no address.
func FuzzMessages(f *testing.F) {
	for _, r := range parseRoutes {
		m := buffer{b: nil}
		m.begin(unix.RTM_NEWROUTE, 0, 1)
		m.b = append(m.b, payload(f, r)...)
		m.end()
		f.Add(m.b)
		f.Add(append(m.b, m.b[:len(m.b)-2]...))
	}
	f.Add(make([]byte, unix.SizeofNlMsghdr))
	m := buffer{b: nil}
	m.begin(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS|unix.NLM_F_CAPPED, 1)
	m.b = native.AppendUint32(m.b, ^uint32(unix.ENOENT)+1)
	m.b = append(m.b, make([]byte, unix.SizeofNlMsghdr)...)
	m.attr(unix.NLMSGERR_ATTR_MSG, []byte("words"))
	m.end()
	f.Add(m.b)
	links := links{names: map[int]string{7: "eth0", 8: "vx.1"}, owned: map[int]string{8: "vx.1"}}
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		err := messages(b, func(h header, p []byte) {
			total += unix.SizeofNlMsghdr + len(p)
			if err := refusal(h, p); err != nil && !errors.As(err, new(unix.Errno)) {
				t.Errorf("refusal is %v", err)
			}
			if hop := parseNextHop(p, links); hop.Link != "" && hop.Link != "eth0" || hop.Link == "" && hop.Gateway.IsValid() {
				t.Errorf("next hop %v", hop)
			}
			r := reader{links: links}
			r.addRoute(p)
			if len(p) >= unix.SizeofIfAddrmsg {
				r.addAddr("vx.1", p)
			}
			if len(p) >= unix.SizeofNdMsg {
				r.addNeigh("vx.1", unix.AF_BRIDGE, p)
				r.addNeigh("vx.1", unix.AF_INET, p)
			}
			for _, a := range r.state.Addrs {
				if !a.Prefix.Addr().IsValid() {
					t.Errorf("address %v", a)
				}
			}
		})
		if total > len(b) || err == nil && len(b)-total >= unix.SizeofNlMsghdr+3 {
			t.Errorf("messages of %d bytes in %d: %v", total, len(b), err)
		}
	})
}

func FuzzParseTUNFlags(f *testing.F) {
	for _, s := range []string{"0x1001\n", "0X5101", "", "0x", "-1", "0x100000000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n := parseTUNFlags(text); n > 1<<32-1 {
			t.Errorf("%q is %#x", text, n)
		}
	})
}
