package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"flanneld/cmd/internal/options"
	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/mirror"
)

// facts are what a document means to a host.
type facts struct {
	config.Config
	options map[string]string // of the backend, with defaults
	written written
}

// written is what of a document releases read differently.
type written struct {
	SubnetLen *int
	Backend   struct{ Port int }
}

// factsOf is nil if no host can use the document, or if there is none.
func factsOf(raw []byte) *facts {
	cfg, _, err := examine(raw)
	if raw == nil || err != nil {
		return nil
	}
	f := &facts{Config: cfg, options: optionMap(cfg)}
	_ = json.Unmarshal(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")), &f.written) // it was read just now
	return f
}

// reason is why a change is refused.
type reason struct {
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// hostChange is what becomes of a host that has a lease, when its flanneld is restarted.
type hostChange struct {
	Subnet   netip.Prefix `json:"subnet"`
	SubnetV6 netip.Prefix `json:"subnetV6,omitzero"`
	PublicIP netip.Addr   `json:"publicIP"`
	Node     string       `json:"node,omitempty"`    // absent: it has an older release
	Backend  string       `json:"backend,omitempty"` // as its lease says; absent: udp or alloc, which write none
	Keeps    bool         `json:"keeps"`             // its subnet
	Why      string       `json:"why,omitempty"`     // it does not
}

// judgement is what a change of the configuration means for the hosts that have leases.
type judgement struct {
	differs []string // "SubnetLen 24 -> 25"; empty: nothing for a host
	hosts   []hostChange
	refused []reason
	notes   []string
}

// judge compares two documents by what hosts make of them. It looks at what changes: what
// was wrong before is not made worse, and is said only. Was is nil if nobody knows what
// document the hosts run with. The API tells which releases may be there.
func judge(api string, was, is *facts, leases []subnet.Lease) judgement {
	j := judging{was: was, is: is, leases: leases, older: api == options.APIv2}
	if was != nil {
		j.differs = differences(was, is)
	}
	j.ranges()
	j.backend()
	j.olderHosts()
	j.situation()
	return j.judgement
}

type judging struct {
	judgement
	was, is *facts
	leases  []subnet.Lease
	older   bool // releases before 0.18 may be there
}

// refuse takes note of what would split the cluster. One host alone cannot be split.
func (j *judging) refuse(message, hint string) {
	if owners(j.leases) > 1 {
		j.refused = append(j.refused, reason{message, hint})
	} else {
		j.note(message)
	}
}

func (j *judging) note(text string) { j.notes = append(j.notes, text) }

const untilAll = "until flanneld was restarted on all, hosts that were and hosts that were not do not reach each other"

// ranges looks at who keeps its subnet.
func (j *judging) ranges() {
	var moved []subnet.Lease
	for _, l := range j.leases {
		why := misfit(j.is.Config, l)
		j.hosts = append(j.hosts, hostChange{Subnet: l.V4.Subnet, SubnetV6: l.V6.Subnet, PublicIP: l.V4.PublicIP, Node: l.Node, Backend: l.Type, Keeps: why == "", Why: why})
		if why != "" && (j.was == nil || misfit(j.was.Config, l) == "") {
			moved = append(moved, l)
		}
	}
	slices.SortStableFunc(j.hosts, func(a, b hostChange) int { return cmp.Compare(btoi(a.Keeps), btoi(b.Keeps)) })
	if len(moved) > 0 {
		j.refuse(fmt.Sprintf("%s: %s", count(len(moved), "host would lose its subnet", "hosts would lose their subnets"), named(moved, func(l subnet.Lease) string { return misfit(j.is.Config, l) })),
			"choose a network that has their subnets in it, or release the leases of hosts that are gone; with --force each takes another subnet when it is restarted, and its containers must be; "+untilAll)
		return
	}
	if j.was != nil && len(j.leases) > 0 && (wider(j.was.V4, j.is.V4) || wider(j.was.V6, j.is.V6)) {
		j.note("every host keeps its subnet; a host that leases one in the new part is not reached by hosts whose flanneld was not restarted")
	}
}

// wider reports whether more can be leased from b than from a.
func wider(a, b config.Range) bool {
	return a.Enabled() && b.Enabled() && (b.Min.Less(a.Min) || a.Max.Less(b.Max))
}

// misfit says why a host cannot keep its lease; empty: it can.
func misfit(c config.Config, l subnet.Lease) string {
	switch {
	case c.Allows(l.V4.Subnet, l.V6.Subnet):
		return ""
	case l.V4.Subnet.Bits() != c.V4.SubnetLen:
		return fmt.Sprintf("subnets are /%d", c.V4.SubnetLen)
	case !c.V4.Contains(l.V4.Subnet):
		return fmt.Sprintf("not from %s to %s", c.V4.Min, c.V4.Max)
	case !c.V6.Enabled():
		return "there is no IPv6"
	case !l.V6.Subnet.IsValid():
		return "it has no IPv6 subnet"
	case l.V6.Subnet.Bits() != c.V6.SubnetLen:
		return fmt.Sprintf("IPv6 subnets are /%d", c.V6.SubnetLen)
	}
	return fmt.Sprintf("not from %s to %s", c.V6.Min, c.V6.Max)
}

// backend looks at what packets between two hosts go by.
func (j *judging) backend() {
	others := slices.DeleteFunc(slices.Clone(j.leases), func(l subnet.Lease) bool { return carries(l, j.was, j.is.Type) })
	const back = "change it when all hosts can be restarted at one time, with --force; " + untilAll
	if len(others) > 0 {
		if j.was == nil || j.was.Type != j.is.Type {
			j.refuse(fmt.Sprintf("%s would have another backend than %s: %s", count(len(others), "host"), j.is.Type,
				named(others, func(l subnet.Lease) string { return cmp.Or(clean(l.Type), "udp or alloc") })), back)
		} else {
			j.note(fmt.Sprintf("%s not run %s yet, whatever changes now: %s", count(len(others), "host does", "hosts do"), j.is.Type, named(others, nil)))
		}
		return
	}
	for _, name := range []string{"VNI", "Port", "GBP"} {
		value := j.is.options[name]
		behind := slices.DeleteFunc(slices.Clone(j.leases), func(l subnet.Lease) bool {
			told, ok := toldVNI(l)
			switch {
			case name == "VNI" && ok:
				return told == value || told == lower(value)
			case j.was == nil || j.was.Type != j.is.Type:
				return true // nobody knows
			}
			return j.was.options[name] == value
		})
		if len(behind) > 0 && (j.was == nil || j.was.options[name] != value) {
			j.refuse(fmt.Sprintf("%s would have another %s %s than %s: %s", count(len(behind), "host"), j.is.Type, name, value, named(behind, nil)), back)
		}
	}
}

// carries reports whether a host has a lease of a backend. Udp and alloc write no type.
func carries(l subnet.Lease, was *facts, typ string) bool {
	silent := func(typ string) bool { return typ == "udp" || typ == "alloc" }
	if l.Type != "" || !silent(typ) {
		return l.Type == typ
	}
	return was == nil || !silent(was.Type) || was.Type == typ
}

// toldVNI returns the VXLAN network identifier that a lease tells. Hosts of this release
// tell its lower 16 bits, and 0.13 and older none.
func toldVNI(l subnet.Lease) (vni string, ok bool) {
	var data struct{ VNI *uint32 }
	if json.Unmarshal([]byte(l.V4.Data), &data) != nil || data.VNI == nil {
		return "", false
	}
	return fmt.Sprint(*data.VNI), true
}

// lower is a VNI as hosts of this release tell it.
func lower(vni string) string {
	n, _ := strconv.ParseUint(vni, 10, 32) // it was made of one
	return fmt.Sprint(uint16(n))
}

// situation says how far the change matters.
func (j *judging) situation() {
	copies := slices.IndexFunc(j.leases, func(l subnet.Lease) bool { return l.Mirror != "" })
	switch {
	case j.was != nil && len(j.differs) == 0:
		j.note("for hosts the document means what it meant before")
	case len(j.leases) == 0:
		j.note("no host has a lease, so that nothing can be split")
	default:
		j.note("nothing changes on a host until its flanneld is restarted")
		if owners(j.leases) == 1 {
			j.note("one host alone has a lease, so that nothing can be split")
		}
	}
	if copies >= 0 {
		j.note(fmt.Sprintf("some leases are copies, whose hosts are on %s: the document is to be the same there; flannelctl migrate --mirror carries a change of it from the API that is its --from", j.leases[copies].Mirror))
	}
}

// owners counts the hosts that have leases.
func owners(leases []subnet.Lease) int {
	all := make(map[string]bool)
	for _, l := range leases {
		all[cmp.Or(l.Node, l.V4.PublicIP.String())] = true
	}
	return len(all)
}

// differences says what differs for a host, one phrase each.
func differences(a, b *facts) []string {
	x, y := a.Config, b.Config
	x.Backend, y.Backend = nil, nil // the options are compared by what they mean
	all := config.Differences(x, y)
	if x.Type != y.Type { // other options mean other things
		return all
	}
	names := maps.Clone(a.options)
	maps.Copy(names, b.options)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if was, is := a.options[name], b.options[name]; was != is {
			all = append(all, fmt.Sprintf("Backend %s %s -> %s", name, cmp.Or(was, "none"), cmp.Or(is, "none")))
		}
	}
	return all
}

// named is a list of leases that a person can read: three, and how many more.
func named(leases []subnet.Lease, about func(subnet.Lease) string) string {
	const most = 3
	var all []string
	for _, l := range leases[:min(len(leases), most)] {
		text := fmt.Sprintf("%s of %s", l.Key(), mirror.Who(l))
		if about != nil {
			text += " (" + about(l) + ")"
		}
		all = append(all, text)
	}
	if n := len(leases) - most; n > 0 {
		all = append(all, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(all, ", ")
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
