package vxlan_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/backend"
	"flanneld/backend/backendtest"
	"flanneld/backend/vxlan"
	"flanneld/pkg/datapath"
)

// made returns a backend on the host.
func made(t *testing.T, h *backendtest.Host, config string) backend.Backend {
	t.Helper()
	b, err := newBackend(config, h.Params())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNewRefuses(t *testing.T) {
	for name, test := range map[string]struct{ config, want string }{
		"a VNI of 25 bits":         {`{"VNI":16777216}`, "line 1, column 8: Backend option VNI 16777216 does not fit 24 bits (write a number from 0 to 9999999)"},
		"a VNI of too long a name": {`{"VNI":10000000}`, "line 1, column 8: Backend option VNI 10000000 makes a device name of more than 15 characters, which the kernel refuses: flannel.10000000 (write a number from 0 to 9999999)"},
		"a small MTU":              {`{"MTU":1279}`, "line 1, column 8: Backend option MTU 1279 is out of range (write a number from 1280 to 65535, or leave"},
		"a huge MTU":               {"{\n\"mtu\": 65536}", "line 2, column 8: Backend option MTU 65536 is out of range"},
		"a negative MTU":           {`{"MTU":-1}`, "line 1, column 8: Backend option MTU -1 is out of range"},
		"a negative VNI":           {`{"VNI":-1}`, "line 1, column 8: Backend option VNI is the number -1"},
		"a port of 17 bits": {`{"Port":65536}`, "Backend option Port is the number 65536 " +
			"(a number is expected: write a whole number from 0 to 65535 without quotes)"},
		"a text for a boolean": {`{"GBP":"true"}`, "Backend option GBP is a string"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newBackend(test.config, backendtest.NewHost(t, nil).Params()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("New: %v, want %q", err, test.want)
			}
		})
	}
}

func TestWithIPv6NamesAreLongerAndPacketsLarger(t *testing.T) {
	for raw, want := range map[string]string{
		`{"VNI":9999,"MTU":1350}`: "",
		`{"VNI":10000}`:           "Backend option VNI 10000 makes a device name of more than 15 characters, which the kernel refuses: flannel-v6.10000 (write a number from 0 to 9999)",
		`{"MTU":1349}`:            "Backend option MTU 1349 is out of range (write a number from 1350 to",
	} {
		_, err := vxlan.Configure([]byte(raw), true)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", raw, err, want)
		}
	}
	for mtu, ok := range map[int][2]bool{117: {}, 118: {true}, 1349: {true}, 1350: {true, true}} {
		for i, v6 := range []bool{false, true} {
			configured, err := vxlan.Configure(nil, v6)
			if err != nil {
				t.Fatal(err)
			}
			p := backendtest.NewHost(t, nil).Params()
			p.Underlay.MTU = mtu
			if _, err := configured(p); (err == nil) != ok[i] || err != nil && !strings.Contains(err.Error(), fmt.Sprintf("the MTU of eth0 is %d", mtu)) {
				t.Errorf("an MTU of %d, with IPv6 %v: %v", mtu, v6, err)
			}
		}
	}
}

func TestNewAccepts(t *testing.T) {
	for _, config := range []string{
		``, `null`, `{}`, `{"Type":"vxlan"}`, `{"VNI":9999999,"Port":65535,"MTU":1280}`, `{"vni":0,"port":0,"mtu":0}`,
	} {
		h := backendtest.NewHost(t, nil)
		made(t, h, config)
		if strings.Contains(h.Log.String(), "WARN") {
			t.Errorf("%s warns: %s", config, &h.Log)
		}
	}
}

func TestNewWarns(t *testing.T) {
	for config, want := range map[string]string{
		`{"Prot":8472}`:           `unknown option of the vxlan backend: \"Prot\" (did you mean \"Port\"?)`,
		`{"Psk":"secret"}`:        `unknown option of the vxlan backend: \"Psk\"`,
		`{"MTU":1501,"VNI":5}`:    "larger than the interface's; taking that\" mtu=1501 interface=eth0 taken=1500",
		`{"Type":"vxlan","X":[]}`: `\"X\"`,
	} {
		h := backendtest.NewHost(t, nil)
		made(t, h, config)
		if log := h.Log.String(); strings.Count(log, "WARN") != 1 || !strings.Contains(log, want) {
			t.Errorf("%s: log is %s, want one warning with %s", config, log, want)
		}
	}
}

func TestNewLogsTheOptions(t *testing.T) {
	h := backendtest.NewHost(t, nil)
	made(t, h, `{"VNI":7,"Learning":true}`)
	if want := "VXLAN config: VNI=7 Port=0 GBP=false Learning=true DirectRouting=false"; !strings.Contains(h.Log.String(), want) {
		t.Errorf("log is %s, want %s", &h.Log, want)
	}
}

func TestMTU(t *testing.T) {
	for name, test := range map[string]struct {
		config   string
		underlay int
		v6       bool
		want     int
	}{
		"the interface's, over IPv4":     {``, 1500, false, 1450},
		"the interface's, over IPv6 too": {``, 1500, true, 1430},
		"the option":                     {`{"MTU":1400}`, 1500, false, 1350},
		"the option, over IPv6 too":      {`{"MTU":1400}`, 9000, true, 1330},
		"a larger option":                {`{"MTU":9000}`, 1500, false, 1450},
		"jumbo frames":                   {``, 9000, false, 8950},
	} {
		t.Run(name, func(t *testing.T) {
			p := backendtest.NewHost(t, nil).Params()
			p.Underlay.MTU = test.underlay
			if !test.v6 {
				p.Underlay.PublicV6 = netip.Addr{}
			}
			b, err := newBackend(test.config, p)
			if err != nil {
				t.Fatal(err)
			}
			if got := b.MTU(); got != test.want {
				t.Errorf("MTU is %d, want %d", got, test.want)
			}
		})
	}
}

func TestAdvertise(t *testing.T) {
	for name, test := range map[string]struct{ config, v4, v6 string }{
		"default": {``, `{"VNI":1,"VtepMAC":"0a:00:00:00:00:01"}`, `{"VNI":1,"VtepMAC":"0a:00:00:00:06:01"}`},
		"a VNI":   {`{"VNI":7}`, `{"VNI":7,"VtepMAC":"0a:00:00:00:00:01"}`, `{"VNI":7,"VtepMAC":"0a:00:00:00:06:01"}`},
		// Releases 0.14 to 0.23 reject a lease with more than 16 bits.
		"a VNI of 17 bits": {`{"VNI":65543}`, `{"VNI":7,"VtepMAC":"0a:00:00:00:00:01"}`, `{"VNI":7,"VtepMAC":"0a:00:00:00:06:01"}`},
	} {
		t.Run(name, func(t *testing.T) {
			h := backendtest.NewHost(t, backendtest.Files{
				"flannel.1.mac": "0a:00:00:00:00:01", "flannel-v6.1.mac": "0a:00:00:00:06:01",
				"flannel.7.mac": "0a:00:00:00:00:01", "flannel-v6.7.mac": "0a:00:00:00:06:01",
				"flannel.65543.mac": "0a:00:00:00:00:01", "flannel-v6.65543.mac": "0a:00:00:00:06:01",
			})
			b := made(t, h, test.config)
			v4, v6 := backendtest.Peer(1), backendtest.Peer6(1)
			if err := b.Advertise(&v4); err != nil || v4.Data != test.v4 {
				t.Errorf("Advertise(IPv4): %s, %v; want %s", v4.Data, err, test.v4)
			}
			if err := b.Advertise(&v6); err != nil || v6.Data != test.v6 {
				t.Errorf("Advertise(IPv6): %s, %v; want %s", v6.Data, err, test.v6)
			}
			if b.Type() != "vxlan" {
				t.Errorf("type is %q", b.Type())
			}
		})
	}
}

func TestPlanSaysWhyAPeerIsLeftOut(t *testing.T) {
	h := backendtest.NewHost(t, backendtest.Files{"flannel.1.mac": "0a:00:00:00:00:01"})
	b := made(t, h, ``)
	own := backendtest.Peer(1)
	if err := b.Advertise(&own); err != nil {
		t.Fatal(err)
	}
	peer := backendtest.Peer
	skipped := func(planes []backend.Plane) (lines []string) {
		t.Helper()
		plan, err := b.Plan(t.Context(), planes)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range plan.Skipped {
			line := s.Subnet.String() + " " + s.Reason.Error()
			lines = append(lines, line[:min(len(line), 38)])
		}
		return lines
	}
	for range 2 {
		if d := cmp.Diff([]string{
			"10.5.3.0/24 its VtepMAC is this host's", "10.5.4.0/24 its VtepMAC is another pee", "10.5.5.0/24 read its BackendData: unex",
		}, skipped(backendtest.IPv4(peer(2), data(peer(3), own.Data), data(peer(4), peer(2).Data), data(peer(5), ``)))); d != "" {
			t.Errorf("skipped (-want +got):\n%s", d)
		}
	}
	if d := cmp.Diff([]string{
		"10.5.3.0/24 its VtepMAC is this host's", "10.5.5.0/24 its VtepMAC is this host's",
	}, skipped(backendtest.IPv4(data(peer(3), own.Data), data(peer(5), own.Data)))); d != "" {
		t.Errorf("skipped (-want +got):\n%s", d)
	}
}

// TestWhatALeaseSaysDoesNotFloodTheLog: anybody who can write a lease decides how long
// its value is.
func TestWhatALeaseSaysDoesNotFloodTheLog(t *testing.T) {
	for name, long := range map[string]string{
		"MAC":    `{"VtepMAC":"` + strings.Repeat("0a:", 20000) + `"}`,
		"number": `{"VtepMAC":` + strings.Repeat("7", 60000) + `}`,
		"array":  `[` + strings.Repeat("7,", 30000) + `7]`,
		"EUI-64": `{"VtepMAC":"0a:00:00:00:00:00:00:02"}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := backendtest.NewHost(t, backendtest.Files{"flannel.1.mac": "0a:00:00:00:00:01"})
			b := made(t, h, ``)
			own := backendtest.Peer(1)
			if err := b.Advertise(&own); err != nil {
				t.Fatal(err)
			}
			plan, err := b.Plan(t.Context(), backendtest.IPv4(data(backendtest.Peer(2), long)))
			if err != nil {
				t.Fatal(err)
			}
			if len(plan.Skipped) != 1 || plan.Skipped[0].Subnet != backendtest.Peer(2).Subnet || len(plan.Skipped[0].Reason.Error()) > 500 {
				t.Errorf("skipped: %.1000v", plan.Skipped)
			}
			if log := h.Log.String(); len(log) > 1000 {
				t.Errorf("the log has %d bytes: %.1000s", len(log), log)
			}
		})
	}
}

// TestSetFollowsTheRouting turns a neighbour into a peer behind a gateway and
// back, and holds the change to be without a gap.
func TestSetFollowsTheRouting(t *testing.T) {
	h := backendtest.NewHost(t, backendtest.Files{"flannel.1.mac": "0a:00:00:00:00:01"})
	b := made(t, h, `{"DirectRouting":true}`)
	own := backendtest.Peer(1)
	if err := b.Advertise(&own); err != nil {
		t.Fatal(err)
	}
	var ran []string
	set := func() {
		t.Helper()
		h.Ran()
		if err := h.Set(t.Context(), b, backendtest.IPv4(backendtest.Peer(2))); err != nil {
			t.Fatal(err)
		}
		ran = nil
		for _, op := range h.Ran() {
			ran = append(ran, op.String())
		}
	}
	set()
	detour := via("192.0.2.2/32", "192.0.2.254")
	h.Hand(t, detour)
	set()
	if d := cmp.Diff([]string{
		"bridge fdb replace 0a:00:00:00:00:02 dev flannel.1 dst 192.0.2.2 self permanent",
		"ip neigh replace 10.5.2.0 lladdr 0a:00:00:00:00:02 dev flannel.1 nud permanent",
		"ip route replace 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 102 onlink",
	}, ran); d != "" {
		t.Errorf("behind a gateway (-want +got):\n%s", d)
	}
	h.Remove(t, detour)
	set()
	if d := cmp.Diff([]string{
		"ip route replace 10.5.2.0/24 via 192.0.2.2 dev eth0 proto 102",
		"ip neigh del 10.5.2.0 dev flannel.1",
		"bridge fdb del 0a:00:00:00:00:02 dev flannel.1 dst 192.0.2.2 self permanent",
	}, ran); d != "" {
		t.Errorf("a neighbour again (-want +got):\n%s", d)
	}
}

// TestSetRemovesDirectRoutesOverAnyInterface: a route of ours is ours wherever it
// leads.
func TestSetRemovesDirectRoutesOverAnyInterface(t *testing.T) {
	h := backendtest.NewHost(t, nil)
	h.AddLink("eth1", netip.MustParsePrefix("203.0.113.1/24"))
	b := made(t, h, `{"DirectRouting":true}`)
	own := backendtest.Peer(1)
	if err := b.Advertise(&own); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		planes []backend.Plane
		want   datapath.Op
	}{
		{backendtest.IPv4(backendtest.At(backendtest.Peer(3), "203.0.113.3")), datapath.Op{Verb: datapath.Set, Object: overEth1}},
		{backendtest.IPv4(), datapath.Op{Verb: datapath.Delete, Object: overEth1}},
	} {
		if err := h.Set(t.Context(), b, step.planes); err != nil {
			t.Fatal(err)
		}
		ran := h.Ran()
		if got := ran[len(ran)-1]; got != step.want {
			t.Errorf("did %s, want %s", got, step.want)
		}
	}
}

var overEth1 = datapath.Route{
	Dst: netip.MustParsePrefix("10.5.3.0/24"), Gateway: netip.MustParseAddr("203.0.113.3"), Link: "eth1", Protocol: backendtest.Protocol,
}
