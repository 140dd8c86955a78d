package vxlan

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"flanneld/backend"
	"flanneld/pkg/datapath"
)

// macs are the MACs of this host's devices. Peers keep them in their tables, so they
// outlive the daemon and the host's reboot.
type macs struct {
	known  map[string]datapath.MAC // by device
	kernel backend.Kernel
	state  backend.State
	log    *slog.Logger
}

// of returns the existing device's MAC, else the one kept in the state directory, else
// a random one.
func (m macs) of(device string) (datapath.MAC, error) {
	if mac, ok := m.known[device]; ok {
		return mac, nil
	}
	have, err := m.kernel.Read(context.Background(), datapath.Scope{Links: []string{device}})
	if err != nil {
		return datapath.MAC{}, fmt.Errorf("read network state: %w", err)
	}
	kept := m.kept(device)
	mac := kept
	if mac.IsZero() {
		mac = randomMAC()
	}
	for _, l := range have.Links {
		if l.Kind == "vxlan" && l.MAC.Unicast() {
			mac = l.MAC
		}
	}
	m.known[device] = mac
	if mac != kept {
		if err := m.state.Save(macFile(device), []byte(mac.String()+"\n")); err != nil {
			m.log.Warn("Cannot keep the device's MAC over a reboot", "device", device, "err", err)
		}
	}
	return mac, nil
}

// kept returns the persisted MAC, zero if there is none that can be used.
func (m macs) kept(device string) datapath.MAC {
	data, err := m.state.Load(macFile(device))
	if errors.Is(err, fs.ErrNotExist) {
		return datapath.MAC{}
	}
	var mac datapath.MAC
	if err == nil {
		mac, err = datapath.ParseMAC(strings.TrimSpace(string(data)))
	}
	if err == nil && !mac.Unicast() {
		err = fmt.Errorf("%s is no interface's address", mac)
	}
	if err != nil {
		m.log.Warn("Ignoring the kept MAC of a device", "device", device, "file", macFile(device), "err", err)
		return datapath.MAC{}
	}
	return mac
}

func macFile(device string) string { return device + ".mac" }

// randomMAC returns a locally administered unicast address.
func randomMAC() datapath.MAC {
	var m datapath.MAC
	_, _ = rand.Read(m[:]) // never fails since Go 1.24
	m[0] = m[0]&^1 | 2
	return m
}
