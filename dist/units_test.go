package dist_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files says where what is here lies on a host, by path. Programs and what is made
// when a package is built are not among them.
var files = map[string]string{
	"flanneld.service":                             "/usr/lib/systemd/system/flanneld.service",
	"flanneld@.service":                            "/usr/lib/systemd/system/flanneld@.service",
	"flanneld-docker.path":                         "/usr/lib/systemd/system/flanneld-docker.path",
	"flanneld-docker.service":                      "/usr/lib/systemd/system/flanneld-docker.service",
	"docker.service.d/flanneld.conf":               "/usr/lib/systemd/system/docker.service.d/flanneld.conf",
	"network/50-flannel.link":                      "/usr/lib/systemd/network/50-flannel.link",
	"network/50-flannel.network":                   "/usr/lib/systemd/network/50-flannel.network",
	"network/NetworkManager-flannel.conf":          "/usr/lib/NetworkManager/conf.d/50-flannel.conf",
	"sysctl.conf":                                  "/usr/lib/sysctl.d/60-flannel.conf",
	"modules-load.conf":                            "/usr/lib/modules-load.d/flannel.conf",
	"sysusers.conf":                                "/usr/lib/sysusers.d/flannel.conf",
	"tmpfiles.conf":                                "/usr/lib/tmpfiles.d/flannel.conf",
	"mk-docker-opts.sh":                            "/usr/libexec/flannel/mk-docker-opts.sh",
	"docker-network.sh":                            "/usr/libexec/flannel/docker-network.sh",
	"restart-docker.sh":                            "/usr/libexec/flannel/restart-docker.sh",
	"flanneld.default":                             "/etc/default/flanneld",
	"flanneld.service.d/unprivileged.conf.example": "/usr/share/doc/flanneld/unprivileged.conf.example",
}

func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd is not installed")
	}
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	return string(out), err
}

// exposure is the most that "systemd-analyze security" may say of the unit, in
// tenths: systemd-networkd, whose work is the same, has 28 in Debian 12.
const (
	exposure             = "24"
	exposureUnprivileged = "21"
)

func TestUnitIsNoMoreExposedThanNetworkd(t *testing.T) {
	if out, err := analyze(t, "security", "--no-pager", "--offline=true", "--threshold="+exposure, "flanneld.service"); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	if out, err := analyze(t, "security", "--no-pager", "--offline=true", "--threshold=20", "flanneld.service"); err == nil {
		t.Errorf("a threshold that is too low for anything is kept: %s", out)
	}
	unit := filepath.Join(t.TempDir(), "flanneld.service")
	var text []byte
	for _, part := range []string{"flanneld.service", "flanneld.service.d/unprivileged.conf.example"} {
		b, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b...)
	}
	if err := os.WriteFile(unit, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := analyze(t, "security", "--no-pager", "--offline=true", "--threshold="+exposureUnprivileged, unit); err != nil {
		t.Errorf("unprivileged: %v:\n%s", err, out)
	}
}

// TestInstancesAreAsTheOne holds the unit for several networks to that for one.
func TestInstancesAreAsTheOne(t *testing.T) {
	settings := func(path string) (found []string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "Environment") && !strings.HasPrefix(line, "Description=") {
				found = append(found, strings.NewReplacer("flannel/%i", "flannel", " $DAEMON_ARGS", "").Replace(line))
			}
		}
		return found
	}
	if diff := cmp.Diff(settings("flanneld.service"), settings("flanneld@.service")); diff != "" {
		t.Errorf("flanneld.service and flanneld@.service differ (-one +several):\n%s", diff)
	}
}

// TestEveryFileSaysWhy holds whatever is installed to a comment.
func TestEveryFileSaysWhy(t *testing.T) {
	for from := range files {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "\n# ") && !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s has no comment", from)
		}
	}
}
