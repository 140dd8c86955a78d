package vxlan

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"flanneld/pkg/datapath"
)

// mac returns the MAC that a device has, or had, or shall have: the existing
// device's, else the one kept in the state directory, else a random one. Peers
// keep it in their tables, so it outlives the daemon and the host's reboot.
func (b *Backend) mac(device string) (datapath.MAC, error) {
	if mac, ok := b.macs[device]; ok {
		return mac, nil
	}
	mac, err := b.existingMAC(device)
	if err != nil {
		return datapath.MAC{}, err
	}
	kept := b.keptMAC(device)
	if mac.IsZero() {
		mac = kept
	}
	if mac.IsZero() {
		mac = randomMAC()
	}
	b.macs[device] = mac
	if mac != kept {
		if err := b.state.Save(macFile(device), []byte(mac.String()+"\n")); err != nil {
			b.log.Warn("Cannot keep the device's MAC over a reboot", "device", device, "err", err)
		}
	}
	return mac, nil
}

func (b *Backend) existingMAC(device string) (datapath.MAC, error) {
	scope := datapath.Scope{Links: []string{device}}
	have, err := b.kernel.Read(context.Background(), scope)
	if err != nil {
		return datapath.MAC{}, fmt.Errorf("read network state: %w", err)
	}
	for _, l := range have.Links {
		if l.Kind == "vxlan" && l.MAC.Unicast() {
			return l.MAC, nil
		}
	}
	return datapath.MAC{}, nil
}

// keptMAC returns the persisted MAC, zero if there is none that can be used.
func (b *Backend) keptMAC(device string) datapath.MAC {
	data, err := b.state.Load(macFile(device))
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
		b.log.Warn("Ignoring the kept MAC of a device", "device", device, "file", macFile(device), "err", err)
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
