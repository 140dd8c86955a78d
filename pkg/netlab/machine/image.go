package machine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Recipe says what a root has beside the smallest Debian with systemd.
type Recipe struct {
	Packages []string          // Debian's names
	Units    map[string]string // files below /etc/systemd/system
	Enable   []string          // units to enable
	Disable  []string          // units not to start at boot

	// Release is the codename of Debian's; empty: that of this machine.
	Release string `json:",omitempty"`
	// Bare: there is no systemd. Programs run in it as a Service, and nothing else
	// of the recipe counts than Packages and Release.
	Bare bool `json:",omitempty"`
}

// ErrUnreachable: the archive has not what the root is to be made of, or does not
// answer.
var ErrUnreachable = errors.New("the archive cannot be reached")

// base is what every root has.
func base() []string {
	return []string{"systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "iptables", "iputils-ping",
		"procps", "ethtool", "curl", "ca-certificates"}
}

// writable makes the control groups writable: systemd-nspawn mounts those of
// version 1 read-only, and Docker makes some.
const writable = `[Unit]
Description=Make control groups writable
DefaultDependencies=no
Before=basic.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'for c in /sys/fs/cgroup/*/; do mount -o remount,bind,rw "$$c" || :; done'

[Install]
WantedBy=sysinit.target
`

// CacheDir returns where roots are kept: below the user's cache directory, or
// /var/cache if there is none.
func CacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = "/var/cache"
	}
	return filepath.Join(dir, "netlab")
}

// Build returns the directory of the recipe's root, to be only read. It is made
// when it is asked for first, which takes a minute or two and needs Debian's
// archive, as the machine's own apt knows it; after that it is found below the
// cache directory by what it is made of. Roots of other recipes are left there.
func (r Recipe) Build(ctx context.Context, cache string) (string, error) {
	a, err := findArchive(ctx)
	if err != nil {
		return "", fmt.Errorf("build root: %w", err)
	}
	if r.Release != "" {
		a.codename = r.Release
	}
	root := filepath.Join(cache, "root-"+r.key(a))
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("build root: %w", err)
	}
	// Several processes may want it at once.
	lock, err := os.OpenFile(root+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("build root: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("build root: lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	part := root + ".part" // of a build that was interrupted, or nothing
	if err := os.RemoveAll(part); err != nil {
		return "", fmt.Errorf("build root: %w", err)
	}
	if err := r.make(a, builder{ctx: ctx, root: part, lock: lock}); err != nil {
		return "", fmt.Errorf("build root: %w", errors.Join(err, os.RemoveAll(part)))
	}
	return root, os.Rename(part, root)
}

// key is a name for all that the root is made of, but for what Debian changes
// within a release.
func (r Recipe) key(a archive) string {
	text, err := json.Marshal([]any{"1", r, base(), writable, a.codename})
	if err != nil {
		panic(err) // strings only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// builder runs what makes a root.
type builder struct {
	ctx  context.Context
	root string
	lock *os.File // on the root
}

// run runs a program in namespaces of its own: what debootstrap and apt mount or leave
// running goes with the command. It has the lock, so that nobody removes the root of a
// process that was killed before its command has ended, too.
func (b builder) run(program string, arg ...string) error {
	cmd := exec.CommandContext(b.ctx, "unshare", append([]string{"--mount", "--pid", "--fork", "--kill-child", "--", program}, arg...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	cmd.ExtraFiles = []*os.File{b.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // whose end it is that counts as the parent's
	defer runtime.UnlockOSThread()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w: %s", program, err, tail(out.Bytes(), 2000))
	}
	return nil
}

func (b builder) aptGet(arg ...string) error {
	return b.run("chroot", append([]string{b.root, "apt-get"}, arg...)...)
}

func (b builder) systemctl(verb string, units ...string) error {
	if len(units) == 0 {
		return nil
	}
	return b.run("systemctl", append([]string{"--quiet", "--root=" + b.root, verb}, units...)...)
}

func (r Recipe) make(a archive, b builder) error {
	include := base()
	if r.Bare {
		include = r.Packages
	}
	arg := []string{"--variant=minbase", "--include=" + strings.Join(include, ","), a.codename, b.root, a.mirror}
	if r.Release != "" {
		// A release that is younger than this machine's debootstrap has no script.
		arg = append(arg, "/usr/share/debootstrap/scripts/sid")
	}
	if err := b.run("debootstrap", arg...); err != nil {
		return errors.Join(err, a.reach(b.ctx))
	}
	if r.Bare {
		return b.aptGet("clean")
	}
	if err := r.install(a, b); err != nil {
		return err
	}
	return r.setUnits(b)
}

// install installs the recipe's packages.
func (r Recipe) install(a archive, b builder) error {
	if err := a.install(b.root); err != nil {
		return err
	}
	// No service is started in a root that nobody has booted.
	policy := filepath.Join(b.root, "usr/sbin/policy-rc.d")
	if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		return err
	}
	if len(r.Packages) > 0 {
		if err := b.aptGet("update", "-q"); err != nil {
			return err
		}
		if err := b.aptGet(append([]string{"install", "-q", "-y", "--no-install-recommends"}, r.Packages...)...); err != nil {
			return err
		}
	}
	if err := b.aptGet("clean"); err != nil {
		return err
	}
	return errors.Join(os.Remove(policy), os.RemoveAll(filepath.Join(b.root, "var/lib/apt/lists")))
}

// setUnits writes the recipe's units, and says which start at boot.
func (r Recipe) setUnits(b builder) error {
	units := map[string]string{"writable-cgroups.service": writable}
	maps.Copy(units, r.Units)
	for name, text := range units {
		path := filepath.Join(b.root, "etc/systemd/system", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := b.systemctl("enable", append([]string{"writable-cgroups.service"}, r.Enable...)...); err != nil {
		return err
	}
	if err := b.systemctl("disable", r.Disable...); err != nil {
		return err
	}
	// Time synchronisation and timers have nothing to do in a container.
	return b.systemctl("mask", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer",
		"dpkg-db-backup.timer", "console-getty.service")
}

func tail(b []byte, most int) []byte { return bytes.TrimSpace(b[max(0, len(b)-most):]) }
