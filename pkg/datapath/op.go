package datapath

import "fmt"

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

// Object is one of Link, Addr, FDBEntry, Neigh, Route and Filter.
type Object interface {
	// On returns the name of the link that the object hangs on; empty: none.
	On() string
	command(Verb) string
	// kind is a word of few for what it is.
	kind() string
}

func (Link) kind() string     { return "link" }
func (Addr) kind() string     { return "address" }
func (FDBEntry) kind() string { return "fdb" }
func (Neigh) kind() string    { return "neighbour" }
func (Route) kind() string    { return "route" }

// Kinds returns the words for what objects are, as changes are counted by them.
func Kinds() (all []string) {
	for _, o := range []Object{Link{}, Addr{}, FDBEntry{}, Neigh{}, Route{}, Filter{}} {
		all = append(all, o.kind())
	}
	return all
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
	set := fmt.Sprintf("ip link set %s alias %q mtu %d", l.Name, l.Alias, l.MTU) +
		when(!l.MAC.IsZero(), " address", l.MAC) + " nomaster" + when(l.Up, " up") + when(!l.Up, " down")
	switch {
	case v == Delete:
		return "ip link del " + l.Name
	case v == Make && l.Kind == "tun":
		return "ip tuntap add dev " + l.Name + " mode tun" +
			when(l.TUN.VnetHdr, " vnet_hdr") + when(l.TUN.MultiQueue, " multi_queue") + "; " + set
	case v == Make:
		return "ip link add " + l.Name + " type " + l.Kind + l.VXLAN.args() + "; " + set
	}
	return set
}

func (v VXLAN) args() string {
	if v.GPE {
		return fmt.Sprint(" external gpe dstport ", v.Port)
	}
	return fmt.Sprint(" id ", v.VNI) + when(v.Parent != "", " dev", v.Parent) + when(v.Local.IsValid(), " local", v.Local) +
		fmt.Sprint(" dstport ", v.Port) + when(v.Learning, " learning") + when(!v.Learning, " nolearning") + when(v.GBP, " gbp")
}

func (a Addr) command(v Verb) string {
	return fmt.Sprintf("ip addr %s %s dev %s", v, a.Prefix, a.Link)
}

func (e FDBEntry) command(v Verb) string {
	return fmt.Sprintf("bridge fdb %s %s dev %s dst %s self permanent", v, e.MAC, e.Link, e.Dst)
}

func (n Neigh) command(v Verb) string {
	if v == Delete {
		return fmt.Sprintf("ip neigh del %s dev %s", n.IP, n.Link)
	}
	return fmt.Sprintf("ip neigh replace %s lladdr %s dev %s nud permanent", n.IP, n.MAC, n.Link)
}

func (r Route) command(v Verb) string {
	return fmt.Sprintf("ip route %s ", v) + when(r.Type == Blackhole, "blackhole ") + r.Dst.String() +
		when(r.Gateway.IsValid(), " via", r.Gateway) + when(r.Link != "", " dev", r.Link) +
		fmt.Sprint(" proto ", r.Protocol) + when(r.Metric != 0, " metric", r.Metric) +
		when(r.Level != 0, " scope", r.Level) + when(r.OnLink, " onlink")
}

// when returns a word and its values if they apply.
func when(applies bool, word string, values ...any) string {
	if !applies {
		return ""
	}
	for _, v := range values {
		word += fmt.Sprint(" ", v)
	}
	return word
}

// String returns the word of ip(8) for what is not a link.
func (v Verb) String() string {
	if v == Delete {
		return "del"
	}
	return "replace"
}
