package dist_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// makePackages makes those of this machine's architecture, with variables of the
// Makefile as they are given.
func makePackages(t *testing.T, variables ...string) (deb, rpm string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "with a blank")
	makeThem(t, append([]string{"OUT=" + dir, "WITHOUT_ETCD=1"}, variables...)...)
	one := func(pattern string) string {
		t.Helper()
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		if len(found) != 1 {
			t.Fatalf("there are %v, want one %s", found, pattern)
		}
		return found[0]
	}
	return one("*.deb"), one("*.rpm")
}

func makeThem(t *testing.T, variables ...string) {
	t.Helper()
	cmd := exec.Command("make", append([]string{"--no-print-directory", "-C", "..", "packages", "ARCHES=" + runtime.GOARCH}, variables...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make packages: %v\n%s", err, out)
	}
}

// TestPackagesAreAsDebianWantsThem has lintian look at them, whose complaints that stay are in
// the overrides, with a reason each.
func TestPackagesAreAsDebianWantsThem(t *testing.T) {
	if testing.Short() {
		t.Skip("builds packages")
	}
	if _, err := exec.LookPath("lintian"); err != nil {
		t.Skip("lintian is not installed")
	}
	dir := t.TempDir()
	makeThem(t, "OUT="+dir, "PACKAGER=Somebody <somebody@flanneld.org>")
	for _, name := range []string{"flanneld", "flannel-etcd"} {
		found, _ := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
		if len(found) != 1 {
			t.Fatalf("there are %v, want one package of %s", found, name)
		}
		if out, err := exec.Command("lintian", "--allow-root", "--fail-on=error,warning", "--tag-display-limit=0", found[0]).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("lintian: %v\n%s", err, out)
		}
	}
}

func TestAnArchitectureThatNobodyHas(t *testing.T) {
	out, err := exec.Command("make", "--no-print-directory", "-C", "..", "packages", "ARCHES=amd64 vax", "OUT="+t.TempDir()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "error: no packages for the architecture \"vax\"\nhint: give some of: amd64 arm64 arm riscv64 ppc64le s390x\n") {
		t.Errorf("%v: %s", err, out)
	}
}

func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(program, "is not installed")
	}
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", program, args, err)
	}
	return string(out)
}

func TestPackagesAreTheSameTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("builds packages")
	}
	firstDeb, firstRPM := makePackages(t)
	deb, rpm := makePackages(t)
	for first, second := range map[string]string{firstDeb: deb, firstRPM: rpm} {
		a, err := os.ReadFile(first)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(second)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) || filepath.Base(first) != filepath.Base(second) {
			t.Errorf("%s is another one the second time", filepath.Base(first))
		}
	}
	for field, want := range map[string]string{"Package": "flanneld", "Conflicts": "flannel", "Replaces": "flannel", "Architecture": runtime.GOARCH} {
		if got := strings.TrimSpace(output(t, "dpkg-deb", "-f", deb, field)); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if got := output(t, "dpkg-deb", "-I", deb, "conffiles"); strings.TrimSpace(got) != "/etc/default/flanneld" {
		t.Errorf("configuration files are %q", got)
	}

	// All that a copy of the files installs is in the package, and as here.
	root := t.TempDir()
	output(t, "dpkg-deb", "-x", deb, root)
	for from, to := range files {
		want, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(root, to)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not in the package as it is here: %v", to, err)
		}
	}
	for _, file := range []string{"flanneld.rules.yml", "dashboard.json"} {
		want, err := os.ReadFile("prometheus/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(root, "usr/share/flanneld/prometheus", file)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not in the package as it is here: %v", file, err)
		}
	}
	for _, more := range []string{"/usr/share/man/man8/flanneld.8.gz", "/usr/share/man/man5/subnet.env.5.gz",
		"/usr/share/man/man8/flannelctl.8.gz", "/usr/share/bash-completion/completions/flannelctl",
		"/usr/share/zsh/vendor-completions/_flannelctl", "/usr/share/fish/vendor_completions.d/flannelctl.fish",
		"/usr/share/bash-completion/completions/flanneld", "/usr/share/zsh/vendor-completions/_flanneld",
		"/usr/share/fish/vendor_completions.d/flanneld.fish", "/usr/share/doc/flanneld/docs/backends.md", "/usr/share/doc/flanneld/sbom.spdx.json", "/usr/share/doc/flanneld/copyright"} {
		if info, err := os.Stat(filepath.Join(root, more)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", more, err)
		}
	}
	output(t, "bash", "-n", filepath.Join(root, "usr/share/bash-completion/completions/flannelctl"))
	wantLicences(t, filepath.Join(root, "usr/share/doc/flanneld"))
	commit := strings.TrimSpace(output(t, "git", "rev-parse", "--short=12", "HEAD"))
	for _, program := range []string{"flanneld", "flannelctl"} {
		out, err := exec.Command(filepath.Join(root, "usr/bin", program), "--version").CombinedOutput()
		if want := output(t, "git", "describe", "--tags", "--always", "--dirty") + "commit " + commit + ", go"; err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("%s in it says %q, want %q, %v", program, out, want, err)
		}
	}
	for _, path := range strings.Fields(output(t, "rpm", "-qlp", rpm)) {
		if want := filepath.Join(root, path); strings.Contains(path, "flannelctl") && !strings.Contains(path, "/zsh/") {
			if _, err := os.Stat(want); err != nil {
				t.Errorf("the .rpm has %s, and the .deb has not: %v", path, err)
			}
		}
	}
}

// wantLicences looks for a licence of everything that is listed as a part.
func wantLicences(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "sbom.spdx.json"))
	var parts struct {
		Packages []struct {
			Name, VersionInfo, LicenseDeclared string
			ExternalRefs                       []any
		}
	}
	if err == nil {
		err = json.Unmarshal(text, &parts)
	}
	if err != nil {
		t.Fatal(err)
	}
	licences := output(t, "cat", filepath.Join(dir, "copyright"))
	modules := 0
	for _, p := range parts.Packages {
		if p.ExternalRefs == nil || p.Name == "std" { // the programs themselves, and Go
			continue
		}
		modules++
		if !strings.Contains(licences, p.Name+" "+p.VersionInfo+"\n") {
			t.Errorf("there is no licence of %s %s", p.Name, p.VersionInfo)
		}
		if p.LicenseDeclared == "NOASSERTION" {
			t.Errorf("nobody knows the licence of %s", p.Name)
		}
	}
	for _, name := range []string{"google.golang.org/grpc v", "google.golang.org/protobuf v", "go.uber.org/zap v", "github.com/spf13/cobra v", "The Go Authors"} {
		if modules == 0 || !strings.Contains(licences, name) {
			t.Errorf("of %d modules, there is no %s", modules, name)
		}
	}
}

// TestPackageListsEveryFile keeps the package and the list of what is here equal.
func TestPackageListsEveryFile(t *testing.T) {
	text, err := os.ReadFile("package/flanneld.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for line := range strings.Lines(string(text)) {
		if _, rest, ok := strings.Cut(line, "{src: ../"); ok {
			from, _, _ := strings.Cut(rest, ",")
			listed = append(listed, from)
		}
	}
	for from := range files {
		if !slices.Contains(listed, from) {
			t.Errorf("%s is not in package/flanneld.yaml", from)
		}
	}
}
