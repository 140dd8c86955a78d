// Package backendtest holds backends to what every one of them must do, and to
// the commands that each should run, on a host in memory.
package backendtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net/netip"
	"testing"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/fake"
)

// New reads the configuration's "Backend" object and makes the backend under test.
type New func(raw string, p backend.Params) (backend.Backend, error)

// Configured makes a New of what a backend package exports.
func Configured(configure func(json.RawMessage) (backend.New, error)) New {
	return func(raw string, p backend.Params) (backend.Backend, error) {
		newBackend, err := configure(json.RawMessage(raw))
		if err != nil {
			return nil, err
		}
		return newBackend(p)
	}
}

// Set carries out what the backend plans for the planes, as the daemon does.
func Set(ctx context.Context, b backend.Backend, p backend.Params, k datapath.Kernel, planes []backend.Plane) error {
	plan, err := b.Plan(ctx, planes)
	if err != nil {
		return err
	}
	if _, _, err = plan.Apply(ctx, p.Scope, &datapath.Reconciler{Kernel: k, Log: p.Log}); err != nil {
		return err
	}
	if f, ok := b.(backend.Forwarder); ok {
		return f.Forward(planes)
	}
	return nil
}

// Host is a host without a backend yet. Its interface eth0 has the addresses
// 192.0.2.1/24 and 2001:db8::1/64 and leads to the default gateways.
type Host struct {
	*fake.Kernel
	Files Files
	Log   bytes.Buffer // what the backend logs, as slog's text

	ran []datapath.Op
}

// Scope is what belongs to the host's daemon.
func Scope() datapath.Scope {
	return datapath.Scope{
		Owner:    "flanneld /coreos.com/network",
		Networks: []netip.Prefix{network4, network6},
		Protocol: Protocol,
	}
}

// Protocol marks our routes; Boot those made by hand (RTPROT_BOOT).
const (
	Protocol = 102
	Boot     = 3
)

// NewHost returns a host that has the files, which may be nil, and nothing else.
func NewHost(t testing.TB, files Files) *Host {
	t.Helper()
	if files == nil {
		files = Files{}
	}
	h := &Host{Files: files, Kernel: fake.New(netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64"))}
	h.Hand(t,
		datapath.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.254"), Link: "eth0", Protocol: Boot},
		datapath.Route{Dst: netip.MustParsePrefix("::/0"), Gateway: netip.MustParseAddr("2001:db8::fe"), Link: "eth0", Metric: 1024, Protocol: Boot})
	return h
}

// Params returns what a backend on this host is made from.
func (h *Host) Params() backend.Params {
	u := backend.Underlay{
		Name: "eth0", Index: 1, MTU: 1500,
		V4: netip.MustParseAddr("192.0.2.1"), V6: netip.MustParseAddr("2001:db8::1"),
	}
	u.PublicV4, u.PublicV6 = u.V4, u.V6
	return backend.Params{
		Underlay: u, Scope: Scope(), Kernel: h, State: h.Files,
		Log: slog.New(slog.NewTextHandler(&h.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// Set carries out on this host what the backend plans for the planes.
func (h *Host) Set(ctx context.Context, b backend.Backend, planes []backend.Plane) error {
	return Set(ctx, b, h.Params(), h, planes)
}

// Do implements datapath.Kernel.
func (h *Host) Do(ctx context.Context, ops []datapath.Op) error {
	h.ran = append(h.ran, ops...)
	return h.Kernel.Do(ctx, ops)
}

// Ran returns what was done since it was last called.
func (h *Host) Ran() []datapath.Op {
	ran := h.ran
	h.ran = nil
	return ran
}

// Hand sets objects as an administrator would; a link is made.
func (h *Host) Hand(t testing.TB, objects ...datapath.Object) {
	t.Helper()
	for _, o := range objects {
		op := datapath.Op{Verb: datapath.Set, Object: o}
		if _, ok := o.(datapath.Link); ok {
			op.Verb = datapath.Make
		}
		if err := h.Kernel.Hand(op); err != nil {
			t.Fatalf("%s: %v", op, err)
		}
	}
}

// Remove deletes objects as an administrator would.
func (h *Host) Remove(t *testing.T, objects ...datapath.Object) {
	t.Helper()
	for _, o := range objects {
		if err := h.Kernel.Hand(datapath.Op{Verb: datapath.Delete, Object: o}); err != nil {
			t.Fatal(err)
		}
	}
}

// Files implements backend.State.
type Files map[string]string

// Load implements backend.State.
func (f Files) Load(name string) ([]byte, error) {
	if data, ok := f[name]; ok {
		return []byte(data), nil
	}
	return nil, &fs.PathError{Op: "load", Path: name, Err: fs.ErrNotExist}
}

// Save implements backend.State.
func (f Files) Save(name string, data []byte) error {
	f[name] = string(data)
	return nil
}
