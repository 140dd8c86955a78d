package vxlan_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"strings"
	"testing"

	"flanneld/backend"
	"flanneld/backend/backendtest"
	"flanneld/pkg/datapath"
)

// advertised returns the MAC in the host's IPv4 lease.
func advertised(t *testing.T, b backend.Backend) datapath.MAC {
	t.Helper()
	own := backendtest.Peer(1)
	if err := b.Advertise(&own); err != nil {
		t.Fatal(err)
	}
	var lease struct{ VtepMAC string }
	if err := json.Unmarshal([]byte(own.Data), &lease); err != nil {
		t.Fatal(err)
	}
	mac, err := datapath.ParseMAC(lease.VtepMAC)
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

func TestMAC(t *testing.T) {
	device := backendtest.Tunnel("flannel.1", 1)[0].(datapath.Link)
	device.MAC = backendtest.MAC(5)
	for name, test := range map[string]struct {
		files   backendtest.Files
		have    []datapath.Object
		want    datapath.MAC // zero: a random one
		warning string       // in the log; empty: none
	}{
		"of the device":                          {nil, []datapath.Object{device}, device.MAC, ""},
		"of the device, though the file differs": {backendtest.Files{"flannel.1.mac": "0a:00:00:00:00:07"}, []datapath.Object{device}, device.MAC, ""},
		"of the file":                            {backendtest.Files{"flannel.1.mac": "0a:00:00:00:00:07\n"}, nil, backendtest.MAC(7), ""},
		"random":                                 {nil, nil, datapath.MAC{}, ""},
		"of another VNI's file":                  {backendtest.Files{"flannel.2.mac": "0a:00:00:00:00:07"}, nil, datapath.MAC{}, ""},
		"of a damaged file":                      {backendtest.Files{"flannel.1.mac": "0a:00:00"}, nil, datapath.MAC{}, "Ignoring the kept MAC"},
		"of an empty file":                       {backendtest.Files{"flannel.1.mac": ""}, nil, datapath.MAC{}, "Ignoring the kept MAC"},
		"of a file with a group's":               {backendtest.Files{"flannel.1.mac": "01:00:5e:00:00:01"}, nil, datapath.MAC{}, "is no interface's address"},
		"of a damaged file beside the device":    {backendtest.Files{"flannel.1.mac": "x"}, []datapath.Object{device}, device.MAC, "Ignoring the kept MAC"},
	} {
		t.Run(name, func(t *testing.T) {
			files := backendtest.Files{}
			maps.Copy(files, test.files)
			h := backendtest.NewHost(t, files)
			h.Hand(t, test.have...)
			b := made(t, h, ``)
			got := advertised(t, b)
			if test.want.IsZero() {
				if got[0]&3 != 2 {
					t.Errorf("MAC %s is not locally administered and unicast", got)
				}
			} else if got != test.want {
				t.Errorf("MAC is %s, want %s", got, test.want)
			}
			if again := advertised(t, b); again != got {
				t.Errorf("MAC is %s the second time, was %s", again, got)
			}
			if kept := strings.TrimSpace(files["flannel.1.mac"]); kept != got.String() {
				t.Errorf("the file says %q, want %s", kept, got)
			}
			log := h.Log.String()
			if test.warning == "" && strings.Contains(log, "WARN") || !strings.Contains(log, test.warning) {
				t.Errorf("log is %s, want a warning with %q", log, test.warning)
			}
			if err := h.Set(t.Context(), b, backendtest.IPv4()); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(h.String(), "address "+got.String()) {
				t.Errorf("the device has not the MAC %s:\n%s", got, h)
			}
			// The host reboots: the file is all that is left.
			if after := advertised(t, made(t, backendtest.NewHost(t, files), ``)); after != got {
				t.Errorf("MAC is %s after a reboot, was %s", after, got)
			}
		})
	}
}

func TestRandomMACsDiffer(t *testing.T) {
	seen := make(map[datapath.MAC]bool)
	for range 20 {
		seen[advertised(t, made(t, backendtest.NewHost(t, nil), ``))] = true
	}
	if len(seen) != 20 {
		t.Errorf("%d different MACs of 20", len(seen))
	}
}

func TestMACOfAnotherKindOfDeviceIsNotTaken(t *testing.T) {
	h := backendtest.NewHost(t, nil)
	h.AddLink("flannel.1")
	mac := advertised(t, made(t, h, ``))
	if strings.Contains(h.String(), mac.String()) {
		t.Errorf("MAC %s is that of a device in\n%s", mac, h)
	}
}

// unwritable is a state directory that cannot be written.
type unwritable struct{ backendtest.Files }

func (unwritable) Save(string, []byte) error { return fs.ErrPermission }

func TestUnwritableStateIsAWarning(t *testing.T) {
	h := backendtest.NewHost(t, nil)
	p := h.Params()
	p.State = unwritable{}
	b, err := newBackend(``, p)
	if err != nil {
		t.Fatal(err)
	}
	mac := advertised(t, b)
	if again := advertised(t, b); again != mac {
		t.Errorf("MAC is %s the second time, was %s", again, mac)
	}
	if log := h.Log.String(); strings.Count(log, "WARN") != 1 || !strings.Contains(log, "Cannot keep the device's MAC over a reboot") {
		t.Errorf("log is %s, want one warning", log)
	}
}

// deaf is a kernel that cannot be read.
type deaf struct{ *backendtest.Host }

func (deaf) Read(context.Context, datapath.Scope) (datapath.State, error) {
	return datapath.State{}, errDeaf
}

var errDeaf = errors.New("no buffers")

func TestAdvertiseFailsIfTheDeviceCannotBeRead(t *testing.T) {
	h := backendtest.NewHost(t, backendtest.Files{"flannel.1.mac": "0a:00:00:00:00:07"})
	p := h.Params()
	p.Kernel = deaf{h}
	b, err := newBackend(``, p)
	if err != nil {
		t.Fatal(err)
	}
	own := backendtest.Peer(1)
	if err := b.Advertise(&own); !errors.Is(err, errDeaf) {
		t.Errorf("Advertise: %v, want %v", err, errDeaf)
	}
}
