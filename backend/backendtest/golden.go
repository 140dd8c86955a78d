package backendtest

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/golden"
)

// Case is a backend at work.
type Case struct {
	Config string            // the configuration's "Backend" object
	Links  []string          // foreign ones beside eth0; all up
	Have   []datapath.Object // what is there already, in the order in which it was made
	Before []backend.Plane   // the planes of an earlier Set; nil: there was none
	Planes []backend.Plane   // the planes of the Set under test
}

// Golden runs the cases on hosts that have the files, and compares what Set does
// with testdata/<case>.golden. Whatever there was before, what there is of ours
// afterwards is what a fresh host has, and to Set it again does nothing.
func Golden(t *testing.T, newBackend New, files Files, cases map[string]Case, update bool) {
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, files, c.Links)
			h.Hand(t, c.Have...)
			b := newOn(t, h, newBackend, c.Config)
			if c.Before != nil {
				set(t, h, b, c.Before)
			}
			h.Ran()
			set(t, h, b, c.Planes)
			golden.Ops(t, filepath.Join("testdata", name+".golden"), h.Ran(), update)
			if set(t, h, b, c.Planes); h.ran != nil {
				t.Errorf("second Set did %v, want nothing", h.Ran())
			}
			fresh := newHost(t, files, c.Links)
			for _, o := range c.Have { // how the underlay is routed matters
				r, ok := o.(datapath.Route)
				if ok && !Scope().InNetworks(r.Dst) && (r.Link == "" || r.Link == "eth0" || slices.Contains(c.Links, r.Link)) {
					fresh.Hand(t, r)
				}
			}
			set(t, fresh, newOn(t, fresh, newBackend, c.Config), c.Planes)
			same(t, fresh, h)
		})
	}
}

func newHost(t *testing.T, files Files, links []string) *Host {
	t.Helper()
	h := NewHost(t, maps.Clone(files))
	for _, l := range links {
		h.AddLink(l)
	}
	return h
}

// newOn makes a backend that is ready for Set.
func newOn(t *testing.T, h *Host, newBackend New, config string) backend.Backend {
	t.Helper()
	b, err := newBackend(config, h.Params())
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range DualStack(1) {
		if err := b.Advertise(&own.Peers[0]); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func set(t *testing.T, h *Host, b backend.Backend, planes []backend.Plane) {
	t.Helper()
	if err := h.Set(t.Context(), b, planes); err != nil {
		t.Fatalf("Set: %v", err)
	}
}

// same compares what is ours on two hosts.
func same(t *testing.T, want, got *Host) {
	t.Helper()
	if d := cmp.Diff(printed(ours(t, want)), printed(ours(t, got))); d != "" {
		t.Errorf("what is ours, and on a fresh host (-fresh +here):\n%s", d)
	}
}

func ours(t *testing.T, h *Host) datapath.State {
	t.Helper()
	s, err := h.Read(t.Context(), Scope())
	if err != nil {
		t.Fatal(err)
	}
	s.Routes = slices.DeleteFunc(s.Routes, func(r datapath.Route) bool { return r.Foreign })
	return s
}

// printed returns the commands that would make a state, sorted.
func printed(s datapath.State) (lines []string) {
	for _, op := range datapath.Diff(s, datapath.State{}) {
		lines = append(lines, op.String())
	}
	slices.Sort(lines)
	return lines
}
