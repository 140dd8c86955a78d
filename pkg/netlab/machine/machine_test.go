package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flanneld/pkg/netlab/labtest"
)

// root is the root that the tests boot. It has Docker, as in the tests of the project's
// units, so that both use one root.
func root(t *testing.T) string {
	t.Helper()
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	dir, err := DockerHost().Build(t.Context(), CacheDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMachineKeepsItsDiskAndLosesItsNetwork(t *testing.T) {
	r := root(t)
	lab := labtest.New(t)
	host, err := lab.Host("m1", "192.168.1.11/24")
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(host, r, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Kill(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(m.Console())
			t.Logf("console:\n%s", text)
		}
	})
	ctx := t.Context()
	if err := m.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	if state, err := m.Settle(ctx); err != nil || state != "running" {
		failed, _ := m.Output(ctx, "systemctl", "--failed", "--no-legend")
		t.Fatalf("is %q, %v; failed: %s", state, err, failed)
	}
	if name, err := m.Output(ctx, "cat", "/proc/sys/kernel/hostname"); err != nil || name != "m1\n" {
		t.Errorf("is called %q, %v", name, err)
	}
	if err := m.Run(ctx, "sh", "-c", "echo kept >/root/kept && ip link add br9 type bridge && ping -c1 -W2 192.168.1.1"); err != nil {
		t.Error(err)
	}
	for name, again := range map[string]func() error{
		"reboot": func() error { return m.Reboot(ctx) },
		"power loss": func() error {
			if err := m.Kill(); err != nil {
				return err
			}
			if err := m.Renew(); err != nil {
				return err
			}
			return m.Boot(ctx)
		},
	} {
		if err := again(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if text, err := m.Output(ctx, "cat", "/root/kept"); err != nil || text != "kept\n" {
			t.Errorf("after a %s the file holds %q, %v", name, text, err)
		}
		if links, err := m.Output(ctx, "ip", "-o", "link"); err != nil || strings.Contains(links, "br9") || !strings.Contains(links, "eth0") {
			t.Errorf("after a %s there are links\n%s, %v", name, links, err)
		}
	}
	if _, err := os.Stat(filepath.Join(r, "root/kept")); err == nil {
		t.Error("the shared root was written to")
	}
	if err := m.PowerOff(ctx); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/" + host.Namespace.Namespace()); left != nil {
		t.Errorf("left behind: %v", left)
	}
	if err := m.Run(ctx, "true"); err == nil {
		t.Error("a command runs in a machine that is off")
	}
}
