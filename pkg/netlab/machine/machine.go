// Package machine boots hosts of a netlab as whole Debian systems, each with a
// systemd of its own as its first process, for tests of what only a service
// manager and its services show: units, packages, Docker, reboots.
//
// A machine is a container of systemd-nspawn on an overlay over a root that all
// machines share (see Recipe), in the network namespace of a netlab.Host. The
// package decides how a machine is booted, switched off and inspected; it does not know
// what runs there. Its mounts are in a namespace that ends with the machine, and the
// machine ends with the process that booted it.
package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"flanneld/pkg/netlab"
)

const (
	// startTime bounds how long the first process may take to answer, and
	// stopTime a machine to switch itself off: systemd ends services that do not
	// end within 90 s.
	startTime = time.Minute
	stopTime  = 2 * time.Minute
	poll      = 50 * time.Millisecond
)

// Supported returns nil if this process can boot machines, and otherwise an error
// saying what is missing, fit as a reason to skip a test.
func Supported() error {
	if err := netlab.Supported(); err != nil {
		return err
	}
	for program, from := range map[string]string{
		"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "nsenter": "util-linux", "unshare": "util-linux",
	} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed (Debian: %s)", program, from)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("the machines need a TUN device: %w", err)
	}
	known, err := os.ReadFile("/proc/filesystems")
	if err == nil && !strings.Contains(string(known), "\toverlay\n") {
		return errors.New("the kernel has no overlay file system")
	}
	return err
}

// Machine is one host, on or off. Its methods are not safe for concurrent use,
// except Command, Run and Output; different machines do not know each other.
type Machine struct {
	Host *netlab.Host
	// Unified boots it with control groups of version 2 only. Where this machine's
	// controllers are in version 1 it has none, and Docker cannot limit containers.
	Unified bool

	dir  string
	root string
	on   *running // nil: it is off
}

// New makes a machine that is off. Its disk is the root; changes to it are kept in dir.
// The caller removes dir when the machine is off for good. It must not lie on an overlay
// file system.
func New(host *netlab.Host, root, dir string) (*Machine, error) {
	m := &Machine{Host: host, dir: dir, root: root}
	for _, d := range []string{"work", "root", "docker", "disk/etc/systemd/system"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("make machine %s: %w", host.Name(), err)
		}
	}
	for name, content := range map[string]string{
		"hostname":   host.Name() + "\n",
		"hosts":      "127.0.0.1 localhost " + host.Name() + "\n",
		"machine-id": "", // systemd makes a new one
	} {
		if err := os.WriteFile(filepath.Join(dir, "disk/etc", name), []byte(content), 0o644); err != nil {
			return nil, fmt.Errorf("make machine %s: %w", host.Name(), err)
		}
	}
	for _, unit := range needless() {
		if err := os.Symlink("/dev/null", filepath.Join(dir, "disk/etc/systemd/system", unit)); err != nil {
			return nil, fmt.Errorf("make machine %s: mask %s: %w", host.Name(), unit, err)
		}
	}
	return m, nil
}

// needless returns units that have nothing to do in a container. Without them a boot
// takes half the processor time.
func needless() []string {
	return []string{
		"modprobe@.service", "systemd-udev-trigger.service", // this machine has done it
		"dev-hugepages.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount",
		"getty.target", "systemd-logind.service", "systemd-user-sessions.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
		"e2scrub_reap.service", "systemd-pstore.service",
	}
}

// Name returns the host's.
func (m *Machine) Name() string { return m.Host.Name() }

// Disk returns the path of a machine's file on this machine. While the machine is off,
// only files that differ from the root can be read.
func (m *Machine) Disk(path string) string {
	if m.on != nil {
		return filepath.Join("/proc", strconv.Itoa(m.on.init), "root", path)
	}
	return filepath.Join(m.dir, "disk", path)
}

// Console returns the path of the log of the machine's console.
func (m *Machine) Console() string { return filepath.Join(m.dir, "console") }

// Boot switches the machine on and returns when its first process takes orders.
// Services are still on their way: see Settle.
func (m *Machine) Boot(ctx context.Context) error {
	if m.on != nil {
		return fmt.Errorf("boot %s: it is on", m.Name())
	}
	r, err := start(ctx, m)
	if err != nil {
		return fmt.Errorf("boot %s: %w (see %s)", m.Name(), err, m.Console())
	}
	m.on = r
	return nil
}

// Settle waits until the machine's systemd has no job left, and returns its state:
// "running", or "degraded" if a unit failed.
func (m *Machine) Settle(ctx context.Context) (string, error) {
	// The exit status is 1 for every state but "running"; the output counts.
	state, err := m.Output(ctx, "systemctl", "is-system-running", "--wait")
	if state = strings.TrimSpace(state); state != "" {
		return state, nil
	}
	return "", err
}

// PowerOff shuts the machine down in good order.
func (m *Machine) PowerOff(ctx context.Context) error {
	if m.on == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	// The command may fail: the machine can end before it.
	_ = m.Run(ctx, "systemctl", "--no-block", "poweroff")
	select {
	case <-m.on.done:
		on := m.on
		m.on = nil
		return on.ended()
	case <-ctx.Done():
		return fmt.Errorf("power off %s: %w", m.Name(), ctx.Err())
	}
}

// Kill ends every process of the machine at once, as a loss of power does.
// The error says what is left of it. A machine that is off stays off.
func (m *Machine) Kill() error {
	if m.on == nil {
		return nil
	}
	on := m.on
	m.on = nil
	return on.kill()
}

// Renew makes the network of a machine that is off anew, as before the first boot: the
// kernel's state does not survive a reboot.
func (m *Machine) Renew() error {
	if m.on != nil {
		return fmt.Errorf("renew network of %s: it is on", m.Name())
	}
	return m.Host.Renew()
}

// Reboot shuts the machine down in good order and boots it.
func (m *Machine) Reboot(ctx context.Context) error {
	if err := m.PowerOff(ctx); err != nil {
		return err
	}
	if err := m.Renew(); err != nil {
		return err
	}
	return m.Boot(ctx)
}
