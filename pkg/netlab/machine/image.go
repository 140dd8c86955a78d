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
	"slices"
	"strings"
	"syscall"
)

// Recipe says what a root has in addition to the smallest Debian with systemd.
type Recipe struct {
	Packages []string          // Debian's names
	Units    map[string]string // files below /etc/systemd/system
	Enable   []string          // units to enable
	Disable  []string          // units not to start at boot

	// Later are packages that are not installed. They lie in apt's cache, from which a machine
	// without a network installs them, and starts what is in them, as any Debian does.
	Later []string `json:",omitempty"`
	// Release is the codename of a release of Debian; empty: this machine's.
	Release string `json:",omitempty"`
	// Bare leaves systemd out: programs run in the root as a Service. Only Packages
	// and Release count then.
	Bare bool `json:",omitempty"`
}

// ErrUnreachable: the archive does not answer, or does not have the release.
var ErrUnreachable = errors.New("the archive cannot be reached")

// base returns the packages of every root that is not bare.
func base() []string {
	return []string{"systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "iptables", "iputils-ping",
		"procps", "ethtool", "curl", "ca-certificates"}
}

// writable makes the control groups writable: systemd-nspawn mounts those of
// version 1 read-only, and Docker creates groups.
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

// Build returns the directory of the recipe's root, which the caller only reads. The
// first call makes it, which takes a minute and needs Debian's archive, as this
// machine's apt knows it. Later calls find it in the cache directory, by a hash of the
// recipe. Roots of other recipes stay there.
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
	// Several processes may build the same root.
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
	part := root + ".part" // an interrupted build leaves it
	if err := os.RemoveAll(part); err != nil {
		return "", fmt.Errorf("build root: %w", err)
	}
	if err := r.make(a, builder{ctx: ctx, root: part, lock: lock}); err != nil {
		return "", fmt.Errorf("build root: %w", errors.Join(err, os.RemoveAll(part)))
	}
	return root, os.Rename(part, root)
}

// key is a hash of the recipe. Debian's updates within a release do not change it.
func (r Recipe) key(a archive) string {
	text, err := json.Marshal([]any{"2", r, base(), writable, a.codename})
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

// run runs a program in namespaces of its own, so that its mounts and processes end
// with it. The program inherits the lock: if this process is killed, nobody removes the
// root before the program has ended, too.
func (b builder) run(program string, arg ...string) error {
	cmd := exec.CommandContext(b.ctx, "unshare", append([]string{"--mount", "--pid", "--fork", "--kill-child", "--", program}, arg...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	cmd.ExtraFiles = []*os.File{b.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal is sent when the thread ends that started the program
	defer runtime.UnlockOSThread()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w: %s", program, err, tail(out.Bytes(), 2000))
	}
	return nil
}

func (b builder) systemctl(verb string, units ...string) error {
	if len(units) == 0 {
		return nil
	}
	return b.run("systemctl", append([]string{"--quiet", "--root=" + b.root, verb}, units...)...)
}

func (r Recipe) make(a archive, b builder) error {
	packages := slices.Concat([]string{"usr-is-merged"}, r.Packages) // or apt would choose usrmerge
	if !r.Bare {
		packages = append(packages, base()...)
	}
	// A frozen mirror has an index that has expired.
	args := []string{"--mode=root", "--variant=minbase", "--format=directory", "--aptopt=Acquire::Check-Valid-Until \"false\"",
		"--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr", "--include=" + strings.Join(packages, ",")}
	if len(r.Later) > 0 {
		// With apt's lists, and nothing that the packages only recommend.
		args = append(args, "--skip=cleanup/apt", `--aptopt=APT::Install-Recommends "false"`,
			`--customize-hook=export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"; apt-get clean && apt-get install --yes --download-only `+strings.Join(r.Later, " "))
	}
	if err := b.run("mmdebstrap", append(args, a.codename, b.root, a.mirror)...); err != nil {
		return errors.Join(err, a.reach(b.ctx))
	}
	if r.Bare {
		return nil
	}
	return r.setUnits(b)
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
	// Timers have nothing to do in a container.
	return b.systemctl("mask", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer",
		"dpkg-db-backup.timer", "console-getty.service")
}

func tail(b []byte, most int) []byte { return bytes.TrimSpace(b[max(0, len(b)-most):]) }
