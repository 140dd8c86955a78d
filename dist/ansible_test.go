package dist_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/netlab/machine"
)

// TestAnsibleRole has the playbook install two hosts by ssh, from nothing but Debian's Docker
// and etcd, and a second run change nothing.
func TestAnsibleRole(t *testing.T) {
	if os.Getenv("FLANNELD_TEST_ANSIBLE") == "" {
		t.Skip("makes a root of its own, with Python and an SSH server: FLANNELD_TEST_ANSIBLE is not set")
	}
	for _, program := range []string{"ansible-playbook", "ssh", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program, "is not installed (Debian: ansible-core, openssh-client)")
		}
	}
	recipe := machine.DockerHost()
	recipe.Packages = append(recipe.Packages, "openssh-server", "python3-minimal", "python3-apt")
	f := newFarmOf(t, recipe, "192.168.1.11/24", "192.168.1.12/24")
	key := filepath.Join(t.TempDir(), "key")
	output(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	inventory := "[flannel]\n"
	for i, h := range f.hosts {
		h.copy(key+".pub", "/root/.ssh/authorized_keys")
		inventory += fmt.Sprintf("%s ansible_host=192.168.1.%d\n", h.Name(), 11+i)
	}
	write(t, filepath.Dir(key)+"/hosts", inventory, 0o644)
	f.all("dpkg --purge flanneld && rm -f /etc/default/flanneld && chmod -R go= /root/.ssh && systemctl start ssh")
	f.hosts[0].sh("systemctl enable --now etcd")
	deb, _ := makePackages(t)
	play := func(more ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		args := append([]string{"--inventory", filepath.Dir(key) + "/hosts", "--user", "root", "--private-key", key,
			"--ssh-common-args", "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
			"--extra-vars", "flanneld_package='" + deb + "' ansible_become=false", "ansible/site.yml"}, more...)
		// The hosts are reached from the switch. No connection outlives the play.
		cmd := f.lab.Switch().Command(ctx, "ansible-playbook", args...)
		cmd.Env = append(os.Environ(), "ANSIBLE_NOCOLOR=1", "LC_ALL=C.UTF-8", "ANSIBLE_SSH_ARGS=-o ControlMaster=no", "HOME="+filepath.Dir(key))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("ansible-playbook: %v\n%s", err, out)
		}
		return string(out)
	}
	changed := regexp.MustCompile(`(?m)^docker[12] .* changed=([1-9]\d*)`)
	f.step("a first run installs all", func() {
		if out := play(); len(changed.FindAllString(out, -1)) != 2 {
			t.Fatalf("not both hosts are changed:\n%s", out)
		}
		f.all("systemctl is-enabled flanneld docker && systemctl is-active flanneld docker && stat -c %a /etc/default/flanneld | grep -qx 600")
	})
	f.step("containers reach each other", func() {
		f.containers()
		f.reach(reachTime)
		f.hosts[1].want("ip -br addr show docker0", ` 10\.100\.`)
		f.hosts[1].want("etcdctl --endpoints=http://192.168.1.11:2379 get --print-value-only /coreos.com/network/config", `"Type": "vxlan"`)
	})
	f.step("a second run changes nothing", func() {
		if out := play(); changed.MatchString(out) || !strings.Contains(out, "changed=0") {
			t.Fatalf("it does:\n%s", out)
		}
	})
	f.step("another setting restarts the daemon, and no Docker", func() {
		docker := f.hosts[0].sh("systemctl show -p MainPID --value docker")
		play("--extra-vars", `{"flanneld_settings": {"healthz-port": 8471, "healthz_ip": "127.0.0.1"}}`)
		if err := f.hosts[0].until(20*time.Second, "busybox wget -q -O- http://127.0.0.1:8471/readyz", ""); err != nil {
			t.Fatal(err)
		}
		if now := f.hosts[0].sh("systemctl show -p MainPID --value docker"); now != docker {
			t.Errorf("Docker was restarted: its process was %s, and is %s", docker, now)
		}
	})
}
