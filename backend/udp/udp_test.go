package udp

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/backend"
	"flanneld/backend/backendtest"
	"flanneld/backend/udp/engine"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

// fakeMachine is on the device of a host in memory, until that is deleted.
type fakeMachine struct {
	flags    datapath.TUN
	host     *backendtest.Host
	device   string // empty: none is attached
	attached int    // how often one was
	state    engine.State
	known    engine.State // when the last device was attached
	count    engine.Counters
	closed   int
	err      error // of attach and Alive
}

func (m *fakeMachine) tun() datapath.TUN { return m.flags }

func (m *fakeMachine) attach(device string) error {
	for _, op := range m.host.Ran() {
		if l, ok := op.Object.(datapath.Link); ok && op.Verb != datapath.Set && l.Name == m.device {
			m.device = ""
		}
	}
	if m.device != device && m.err == nil {
		m.device, m.known = device, m.state
		m.attached++
	}
	return m.err
}

func (m *fakeMachine) share() []int                { return nil }
func (m *fakeMachine) close()                      { m.closed++ }
func (m *fakeMachine) Set(s engine.State)          { m.state = s }
func (m *fakeMachine) Alive(context.Context) error { return m.err }
func (m *fakeMachine) Counters() engine.Counters   { return m.count }
func (m *fakeMachine) Run(ctx context.Context)     { <-ctx.Done() }

// newSteady makes a backend whose engine takes whatever device there is: what the
// suites look at is the kernel.
func newSteady(raw string, p backend.Params) (backend.Backend, error) {
	o, unknown, err := ParseOptions([]byte(raw))
	if err != nil {
		return nil, err
	}
	backend.WarnUnknown(p.Log, Type, unknown)
	return newBackend(p, o, steadyMachine{&fakeMachine{flags: datapath.TUN{VnetHdr: true}}}, kernelPath{}), nil
}

type steadyMachine struct{ *fakeMachine }

func (steadyMachine) attach(string) error { return nil }

func TestBackend(t *testing.T) { backendtest.Run(t, newSteady, `{"Type":"udp"}`) }

func TestGolden(t *testing.T) {
	peer, ipv4 := backendtest.Peer, backendtest.IPv4
	tun := func(name, alias string, flags datapath.TUN) datapath.Link {
		return datapath.Link{Name: name, Kind: "tun", Alias: alias, Up: true, MTU: 1472, TUN: flags}
	}
	ours := backendtest.Scope().Owner
	vxlan := backendtest.Tunnel("flannel0", 1)[0].(datapath.Link)
	backendtest.Golden(t, newSteady, nil, map[string]backendtest.Case{
		"no-peers":      {Planes: ipv4()},
		"three-peers":   {Planes: ipv4(peer(2), peer(3), peer(4))},
		"dual-stack":    {Planes: backendtest.DualStack(2, 3)},
		"blackhole":     {Planes: backendtest.Blackhole(backendtest.DualStack(2))},
		"peer-joins":    {Before: ipv4(peer(2)), Planes: ipv4(peer(2), peer(3))},
		"peer-leaves":   {Before: ipv4(peer(2), peer(3)), Planes: ipv4(peer(3))},
		"subnet-moved":  {Before: ipv4(peer(2)), Planes: ownSubnet("10.5.77.0/24", peer(2))},
		"after-vxlan":   {Have: backendtest.Tunnel("flannel.1", 1), Planes: ipv4(peer(9))},
		"after-host-gw": {Have: backendtest.Gateways(), Planes: backendtest.DualStack(2, 9)},
		"before-0.11": {Have: []datapath.Object{ // an address as wide as the network
			tun("flannel0", ours, datapath.TUN{VnetHdr: true}),
			datapath.Addr{Link: "flannel0", Prefix: netip.MustParsePrefix("10.5.1.0/16")},
		}, Planes: ipv4(peer(2))},
		"other-flags":      {Have: []datapath.Object{tun("flannel0", ours, datapath.TUN{MultiQueue: true})}, Planes: ipv4(peer(2))},
		"another-kind":     {Have: []datapath.Object{vxlan}, Planes: ipv4(peer(2))},
		"foreign-route":    {Have: []datapath.Object{datapath.Route{Dst: netip.MustParsePrefix("10.5.0.0/16"), Gateway: peer(9).PublicIP, Link: "eth0", Protocol: backendtest.Boot}}, Planes: ipv4(peer(2))},
		"second-of-ours":   {Have: []datapath.Object{tun("flannel0", ours, datapath.TUN{VnetHdr: true}), tun("flannel1", ours, datapath.TUN{VnetHdr: true})}, Planes: ipv4(peer(2))},
		"another-backends": {Have: append(backendtest.Tunnel("flannel.1", 1), backendtest.Gateways()...), Planes: ipv4(peer(2))},
	}, *update)
}

func ownSubnet(own string, peers ...subnet.Claim) []backend.Plane {
	planes := backendtest.IPv4(peers...)
	planes[0].Subnet = netip.MustParsePrefix(own)
	return planes
}

func TestChooseDevice(t *testing.T) {
	const owner = "me"
	link := func(name, kind, alias string) datapath.Link {
		return datapath.Link{Name: name, Kind: kind, Alias: alias}
	}
	var full []datapath.Link
	for n := range maxDevices {
		full = append(full, link(deviceName(n), "tun", "other"))
	}
	for name, row := range map[string]struct {
		links []datapath.Link
		want  string
	}{
		"nothing there":             {nil, "flannel0"},
		"ours":                      {[]datapath.Link{link("flannel3", "tun", owner)}, "flannel3"},
		"ours, by an odd name":      {[]datapath.Link{link("x", "tun", owner)}, "flannel0"},
		"two of ours":               {[]datapath.Link{link("flannel4", "tun", owner), link("flannel2", "tun", owner)}, "flannel2"},
		"somebody else's":           {[]datapath.Link{link("flannel0", "tun", "other"), link("flannel2", "tun", "")}, "flannel1"},
		"ours behind somebody's":    {[]datapath.Link{link("flannel0", "tun", "other"), link("flannel1", "tun", owner)}, "flannel1"},
		"ours of another kind":      {[]datapath.Link{link("flannel0", "tap", owner)}, "flannel0"},
		"a TUN before another kind": {[]datapath.Link{link("flannel0", "tap", owner), link("flannel1", "tun", owner)}, "flannel1"},
		"none is free":              {full, ""},
	} {
		got, err := chooseDevice(row.links, owner)
		if got != row.want || (err == nil) != (row.want != "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, row.want)
		}
	}
}

func TestStateOf(t *testing.T) {
	peer := backendtest.Peer
	planes := backendtest.DualStack(2, 3)
	allow := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	got := stateOf(planes, 8285, 1472, backend.Filter{Off: true, Allow: allow})
	want := engine.State{
		Subnet: peer(1).Subnet, MTU: 1472,
		Peers: []engine.Peer{
			{Subnet: peer(2).Subnet, Endpoint: netip.MustParseAddrPort("192.0.2.2:8285")},
			{Subnet: peer(3).Subnet, Endpoint: netip.MustParseAddrPort("192.0.2.3:8285")},
		},
		Open: true, Allow: allow,
	}
	if d := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); d != "" {
		t.Errorf("state (-want +got):\n%s", d)
	}
}

func TestParseOptions(t *testing.T) {
	for config, port := range map[string]uint16{
		"": 8285, "null": 8285, `{}`: 8285, `{"Type":"udp"}`: 8285, `{"Port":0}`: 8285, `{"port":7000}`: 7000, `{"Port":65535}`: 65535,
	} {
		if o, unknown, err := ParseOptions([]byte(config)); o.Port != port || unknown != nil || err != nil {
			t.Errorf("%s: %+v, %q, %v; want port %d", config, o, unknown, err, port)
		}
	}
	if _, unknown, _ := ParseOptions([]byte(`{"Prot":1}`)); len(unknown) != 1 || !strings.Contains(unknown[0], `did you mean "Port"`) {
		t.Errorf("unknown options are %q", unknown)
	}
	for _, config := range []string{`{"Port":65536}`, `{"Port":-1}`, `{"Port":"8285"}`} {
		if _, _, err := ParseOptions([]byte(config)); err == nil || !strings.Contains(err.Error(), "Backend option Port is") ||
			!strings.Contains(err.Error(), "without quotes") {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// onFake returns a backend on a host, and the machine under it.
func onFake(t *testing.T) (*Backend, *backendtest.Host, *fakeMachine) {
	t.Helper()
	h := backendtest.NewHost(t, nil)
	m := &fakeMachine{host: h}
	return newBackend(h.Params(), Options{Port: defaultPort}, m, kernelPath{}), h, m
}

func set(t *testing.T, h *backendtest.Host, b *Backend, planes []backend.Plane) {
	t.Helper()
	if err := h.Set(t.Context(), b, planes); err != nil {
		t.Fatal(err)
	}
}

func TestSaysNothingInLeases(t *testing.T) {
	b, _, _ := onFake(t)
	c := backendtest.Peer(1)
	want := c
	if err := b.Advertise(&c); err != nil || c != want || b.Type() != "" {
		t.Errorf("Advertise: %v, %v of type %q", c, err, b.Type())
	}
}

func TestWarnsOnce(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*backend.Params)
		planes []backend.Plane
		want   string
	}{
		"IPv6":      {func(*backend.Params) {}, backendtest.DualStack(2), "carries IPv4 only"},
		"no filter": {func(p *backend.Params) { p.Filter.Off = true }, backendtest.IPv4(), "from any sender"},
	} {
		h := backendtest.NewHost(t, nil)
		p := h.Params()
		row.change(&p)
		b := newBackend(p, Options{Port: defaultPort}, &fakeMachine{host: h}, kernelPath{})
		set(t, h, b, row.planes)
		set(t, h, b, row.planes)
		if log := h.Log.String(); strings.Count(log, "WARN") != 1 || !strings.Contains(log, row.want) {
			t.Errorf("%s: log is %s, want one warning with %q", name, log, row.want)
		}
	}
}

func TestMTUFollowsTheUnderlay(t *testing.T) {
	b, h, m := onFake(t)
	if got := b.MTU(); got != 1472 {
		t.Errorf("MTU is %d, want 1472", got)
	}
	planes := backendtest.IPv4(backendtest.Peer(2))
	set(t, h, b, planes)
	h.Ran()
	eth0 := datapath.Link{Name: "eth0", Up: true, MTU: 1400}
	if err := h.Kernel.Hand(datapath.Op{Verb: datapath.Set, Object: eth0}); err != nil {
		t.Fatal(err)
	}
	set(t, h, b, planes)
	if got, engine := b.MTU(), m.state.MTU; got != 1372 || engine != 1372 || m.attached != 1 {
		t.Errorf("MTU is %d, the engine's %d, want 1372; attached %d times, want once", got, engine, m.attached)
	}
	if !strings.Contains(h.String(), "mtu 1372") || !strings.Contains(h.Log.String(), "interface=eth0 mtu=1400 overlay=1372 before=1472") {
		t.Errorf("host:\n%slog:\n%s", h, &h.Log)
	}
	h.Remove(t, eth0)
	set(t, h, b, planes)
	if got := b.MTU(); got != 1372 {
		t.Errorf("without the underlay the MTU is %d, want it as it was", got)
	}
}

func TestMTUFitsADatagram(t *testing.T) {
	for underlay, want := range map[int]int{1500: 1472, 9000: 8972, 65536: 65507, 65535: 65507} {
		if got := mtuOver(underlay); got != want {
			t.Errorf("over %d it is %d, want %d", underlay, got, want)
		}
	}
}

func TestDeletedDeviceIsAttachedAgain(t *testing.T) {
	b, h, m := onFake(t)
	planes := backendtest.IPv4(backendtest.Peer(2))
	for range 2 { // twice is once
		set(t, h, b, planes)
	}
	if m.attached != 1 || m.known.Peers == nil {
		t.Errorf("attached %d times, want once; the peers that were known are %v", m.attached, m.known.Peers)
	}
	h.Remove(t, datapath.Link{Name: "flannel0"})
	set(t, h, b, planes)
	if m.attached != 2 || m.known.Peers == nil {
		t.Errorf("attached %d times, want twice; the peers that were known are %v", m.attached, m.known.Peers)
	}
	m.err = errors.New("not now")
	if err := h.Set(t.Context(), b, planes); !errors.Is(err, m.err) {
		t.Errorf("Set: %v, want the error of the machine", err)
	}
}

func TestRunClosesAll(t *testing.T) {
	b, _, m := onFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil || m.closed != 1 {
		t.Errorf("Run: %v; closed %d times", err, m.closed)
	}
}

func TestNothingIsForwardedWithoutTheRoute(t *testing.T) {
	b, h, m := onFake(t)
	h.Hand(t, datapath.Route{Dst: netip.MustParsePrefix("10.5.0.0/16"), Link: "eth0", Protocol: datapath.ProtocolKernel})
	err := h.Set(t.Context(), b, backendtest.IPv4(backendtest.Peer(2), backendtest.Peer(3)))
	if !errors.Is(err, datapath.ErrConnected) || m.attached != 0 {
		t.Errorf("Set: %v, attached %d times; want ErrConnected and never", err, m.attached)
	}
}

func TestCountersKeepTheirNames(t *testing.T) {
	b, _, m := onFake(t)
	m.count[engine.Tx+engine.Packets] = 7
	seen := make(map[string]bool)
	for _, n := range b.Counters() {
		if n.Value != m.count[len(seen)] {
			t.Errorf("%s is %d, want %d", n.Name, n.Value, m.count[len(seen)])
		}
		if seen[n.Name] || !strings.HasPrefix(n.Name, "udp_") || strings.Contains(n.Name, " ") {
			t.Errorf("counter %q", n.Name)
		}
		seen[n.Name] = true
	}
	for _, name := range []string{"udp_tx_packets", "udp_rx_bytes", "udp_rx_dropped_unknown_sender", "udp_tx_dropped_no_peer"} {
		if !seen[name] {
			t.Errorf("no counter %s", name)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, s := range []string{`{"Type":"udp"}`, `{"Port":8285}`, `{"Port":65536}`, `{"port":1,"Port":2}`, `[]`, `{`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, _, err := ParseOptions(raw)
		var told *config.Error
		if err != nil && !errors.As(err, &told) || err == nil && o.Port == 0 {
			t.Errorf("%+v, %v", o, err)
		}
	})
}
