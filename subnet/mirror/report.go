package mirror

import (
	"maps"
	"slices"
	"time"

	"flanneld/subnet"
)

// Report says what stands where.
type Report struct {
	Sides    []Standing `json:"sides"` // From, then To
	Done     Counts     `json:"done"`
	Problems []Problem  `json:"problems,omitempty"`
}

// Standing is what one side has.
type Standing struct {
	Name   string `json:"name"`
	Hosts  []Host `json:"hosts"`  // whose original is here, sorted by subnet
	Copies int    `json:"copies"` // of the other side's
	Left   int    `json:"left"`   // copies without an original, that are left to expire

	Until time.Time `json:"copiesLiveUntil,omitzero"` // at least
}

// Host is the host of an original.
type Host struct {
	Subnet   string `json:"subnet"`
	PublicIP string `json:"publicIP"`
	Node     string `json:"node,omitempty"`
	Reserved bool   `json:"reserved"` // its lease is a reservation
}

// standing returns what a side has.
func standing(s *state, on int) Standing {
	st := Standing{Name: s.names[on], Hosts: []Host{}}
	for _, k := range slices.SortedFunc(maps.Keys(s.spaces[on]), subnet.Key.Compare) {
		l := s.spaces[on][k]
		other, ok := s.spaces[1-on][k]
		switch {
		case l.Mirror == "":
			st.Hosts = append(st.Hosts, Host{k.String(), l.V4.PublicIP.String(), l.Node, l.Reserved()})
		case !ok || other.Mirror != "":
			st.Left++
		default:
			st.Copies++
			if n := s.notes[k]; n != nil && !n.ends.IsZero() {
				st.Until = earlier(st.Until, n.ends)
			}
		}
	}
	return st
}

// String returns the host as a person reads it.
func (h Host) String() string {
	s := h.Subnet + "  " + h.PublicIP
	if h.Node != "" {
		s += " (node " + h.Node + ")"
	}
	if h.Reserved {
		s += ", reserved"
	}
	return s
}
