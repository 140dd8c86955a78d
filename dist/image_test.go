package dist_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/envfile"
	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
)

// engine is a podman with a store of its own.
type engine struct {
	t       *testing.T
	dir     string
	version string
}

// loadImage loads a release's image, as docs/container.md says.
func loadImage(t *testing.T, r release) engine {
	t.Helper()
	e := engine{t, t.TempDir(), r.version}
	// A machine that is a container itself may raise no limit.
	write(t, e.dir+"/containers.conf", "[engine]\ncgroup_manager = \"cgroupfs\"\nlock_type = \"file\"\nevents_logger = \"none\"\n"+
		"[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\nlog_driver = \"k8s-file\"\n", 0o644)
	out, err := e.podman("load", "-i", r.file("-oci.tar")).CombinedOutput()
	if err != nil {
		t.Skipf("podman does not run here: %v: %s", err, out)
	}
	return e
}

func (e engine) podman(arg ...string) *exec.Cmd {
	cmd := exec.Command("podman", append([]string{"--root", e.dir + "/root", "--runroot", e.dir + "/run", "--tmpdir", e.dir + "/tmp", "--storage-driver", "vfs"}, arg...)...)
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+e.dir+"/containers.conf")
	return cmd
}

// start runs the line of docs/container.md on a host, whose files are in a directory of the test.
// The line is not that of ip-netns(8), which would hide the control groups.
func (e engine) start(h *netlab.Host, etcd string) (dir string) {
	e.t.Helper()
	dir = e.t.TempDir()
	for _, name := range []string{"run", "lib", "lock"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			e.t.Fatal(err)
		}
	}
	write(e.t, dir+"/lock/file", "", 0o600)
	write(e.t, dir+"/machine-id", fmt.Sprintf("%032x\n", h.Addr().Addr().As4()), 0o444)
	text, err := os.ReadFile("../docs/container.md")
	if err != nil {
		e.t.Fatal(err)
	}
	line := regexp.MustCompile(`(?s)\n# podman (run --detach .*?)\n#`).FindSubmatch(text)
	if line == nil {
		e.t.Fatal("docs/container.md does not run podman")
	}
	args := strings.NewReplacer("\\\n", "", "VERSION", e.version, "--name flanneld", "--name "+h.Name(), "http://10.0.0.11:2379", etcd,
		" /run/flannel:", " "+dir+"/run:", " /var/lib/flannel:", " "+dir+"/lib:", " /run/xtables.lock:", " "+dir+"/lock/file:",
		" /etc/machine-id:", " "+dir+"/machine-id:").Replace(string(line[1]))
	cmd := e.podman(strings.Fields(args)...)
	cmd.Args = append([]string{"nsenter", "--net=/run/netns/" + h.Namespace.Namespace(), "podman"}, cmd.Args[1:]...)
	if cmd.Path, err = exec.LookPath("nsenter"); err != nil {
		e.t.Skip(err)
	}
	out, err := cmd.CombinedOutput()
	e.t.Cleanup(func() {
		if e.t.Failed() {
			said, _ := e.podman("logs", h.Name()).CombinedOutput()
			e.t.Logf("%s:\n%s", h.Name(), said)
		}
		if out, err := e.podman("rm", "--force", "--time", "3", h.Name()).CombinedOutput(); err != nil {
			e.t.Errorf("podman rm: %v: %s", err, out)
		}
	})
	if err != nil {
		e.t.Fatalf("podman %s: %v: %s", args, err, out)
	}
	return dir
}

// Two hosts whose daemon is in a container, with no capability but those that docs/container.md
// names, and a container behind each.
func TestReleaseImageRuns(t *testing.T) {
	r := makeRelease(t)
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skip("podman is not installed")
	}
	lab := labtest.New(t)
	e := loadImage(t, r)
	var hosts []*netlab.Host
	for i := range 2 {
		h, err := lab.Host(fmt.Sprintf("image%d", i+1), fmt.Sprintf("192.168.1.%d/24", 11+i))
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	gateway := hosts[0].Gateway().String()
	url := "http://" + gateway + ":2379"
	etcd := lab.Switch().Command(t.Context(), "etcd", "--data-dir", t.TempDir(), "--listen-client-urls", url, "--advertise-client-urls", url)
	if err := etcd.Start(); err != nil {
		t.Skip("etcd is not installed:", err)
	}
	t.Cleanup(func() { _ = etcd.Process.Kill(); _ = etcd.Wait() })
	for _, row := range []struct{ backend, status string }{{"vxlan", "vxlan, 1 peer"}, {"udp", "kernel=full"}} {
		put := func() error {
			return hosts[0].Run("etcdctl", "--endpoints="+url, "put", "/coreos.com/network/config", `{"Network":"10.100.0.0/16","Backend":{"Type":"`+row.backend+`"}}`)
		}
		eventually(t, put)
		t.Run(row.backend, func(t *testing.T) {
			e := e
			e.t = t
			var containers []*netlab.Container
			for _, h := range hosts {
				c, err := behind(t, h, e.start(h, url))
				if err != nil {
					t.Fatal(err)
				}
				containers = append(containers, c)
			}
			eventually(t, func() error {
				return containers[0].Run("ping", "-c1", "-W1", containers[1].Addr().Addr().String())
			})
			eventually(t, func() error {
				said, err := e.podman("exec", hosts[0].Name(), "/flannelctl", "status").CombinedOutput()
				if err != nil || !strings.Contains(string(said), row.status) {
					return fmt.Errorf("status is %s, want %s", said, row.status)
				}
				return nil
			})
			if rules, err := hosts[0].Output("iptables", "-S", "FLANNEL-FWD"); err != nil || !strings.Contains(rules, "10.100.0.0/16") {
				t.Errorf("the host's iptables has no rules: %v, %s", err, rules)
			}
		})
		for _, h := range hosts { // the next daemons find another host, with another machine-id
			if err := h.Renew(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// behind adds a container behind a host, once the host's subnet file is there.
func behind(t *testing.T, h *netlab.Host, dir string) (*netlab.Container, error) {
	t.Helper()
	var vars map[string]string
	eventually(t, func() (err error) {
		vars, err = envfile.Read(dir + "/run/subnet.env")
		if err == nil && vars["FLANNEL_SUBNET"] == "" {
			err = errors.New("there is no subnet file")
		}
		return err
	})
	subnet, err := netip.ParsePrefix(vars["FLANNEL_SUBNET"])
	if err != nil {
		return nil, err
	}
	return h.Container("c", subnet, 1400)
}

// eventually repeats what has to succeed within half a minute.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
