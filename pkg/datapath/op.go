package datapath

import (
	"fmt"
	"strings"
)

// Op is one change of the kernel's state. As text it is the ip(8) or bridge(8)
// command that would make it.
type Op struct {
	Verb   Verb
	Object Object
}

// Verb says what is done with an object.
type Verb uint8

const (
	// Set makes the object what it says, whether or not something with its key
	// is there. A link is never re-made by Set: only its alias, MTU, MAC and
	// state are changed.
	Set Verb = iota
	// Make creates a link, which must not be there.
	Make
	// Delete removes the object. That it is gone already is no failure.
	Delete
)

// Object is one of Link, Addr, FDBEntry, Neigh and Route.
type Object interface {
	// On returns the name of the link that the object hangs on; empty: none.
	On() string
	command(Verb) string
}

// On implements Object.
func (Link) On() string { return "" }

// On implements Object.
func (a Addr) On() string { return a.Link }

// On implements Object.
func (e FDBEntry) On() string { return e.Link }

// On implements Object.
func (n Neigh) On() string { return n.Link }

// On implements Object.
func (r Route) On() string { return r.Link }

// String returns the command, several joined by "; ".
func (o Op) String() string { return o.Object.command(o.Verb) }

// OpError is an operation that failed.
type OpError struct {
	Op  Op
	Err error // wraps the errno
}

func (e *OpError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }

func (e *OpError) Unwrap() error { return e.Err }

func (l Link) command(v Verb) string {
	set := fmt.Sprintf("ip link set %s alias %q mtu %d", l.Name, l.Alias, l.MTU)
	if !l.MAC.IsZero() {
		set += " address " + l.MAC.String()
	}
	set += map[bool]string{true: " up", false: " down"}[l.Up]
	switch v {
	case Delete:
		return "ip link del " + l.Name
	case Make:
		add := "ip link add " + l.Name + " type " + l.Kind + l.VXLAN.args()
		if l.Kind == "tun" {
			add = "ip tuntap add dev " + l.Name + " mode tun" + l.TUN.args()
		}
		return add + "; " + set
	default:
		return set
	}
}

func (v VXLAN) args() string {
	var b strings.Builder
	fmt.Fprintf(&b, " id %d", v.VNI)
	if v.Parent != "" {
		b.WriteString(" dev " + v.Parent)
	}
	if v.Local.IsValid() {
		b.WriteString(" local " + v.Local.String())
	}
	fmt.Fprintf(&b, " dstport %d", v.Port)
	b.WriteString(map[bool]string{true: " learning", false: " nolearning"}[v.Learning])
	if v.GBP {
		b.WriteString(" gbp")
	}
	return b.String()
}

func (t TUN) args() string {
	var args string
	if t.VnetHdr {
		args += " vnet_hdr"
	}
	if t.MultiQueue {
		args += " multi_queue"
	}
	return args
}

func (a Addr) command(v Verb) string {
	return fmt.Sprintf("ip addr %s %s dev %s", verb(v, "replace"), a.Prefix, a.Link)
}

func (e FDBEntry) command(v Verb) string {
	return fmt.Sprintf("bridge fdb %s %s dev %s dst %s self permanent", verb(v, "replace"), e.MAC, e.Link, e.Dst)
}

func (n Neigh) command(v Verb) string {
	if v == Delete {
		return fmt.Sprintf("ip neigh del %s dev %s", n.IP, n.Link)
	}
	return fmt.Sprintf("ip neigh replace %s lladdr %s dev %s nud permanent", n.IP, n.MAC, n.Link)
}

func (r Route) command(v Verb) string {
	var b strings.Builder
	b.WriteString("ip route " + verb(v, "replace") + " ")
	if r.Type == Blackhole {
		b.WriteString("blackhole ")
	}
	b.WriteString(r.Dst.String())
	if r.Gateway.IsValid() {
		b.WriteString(" via " + r.Gateway.String())
	}
	if r.Link != "" {
		b.WriteString(" dev " + r.Link)
	}
	fmt.Fprintf(&b, " proto %d", r.Protocol)
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if r.OnLink {
		b.WriteString(" onlink")
	}
	return b.String()
}

func verb(v Verb, set string) string {
	if v == Delete {
		return "del"
	}
	return set
}
