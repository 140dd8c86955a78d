package dist_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
)

// packageRoot is a directory that packages are installed into: busybox, and a
// systemctl and its like that only write down how they are called. The network in it
// is one of its own.
type packageRoot struct {
	t   *testing.T
	dir string
	net netlab.Namespace
}

func newPackageRoot(t *testing.T) packageRoot {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("scripts of packages run in another root, which takes root")
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("busybox-static is not installed")
	}
	r := packageRoot{t, t.TempDir(), labtest.New(t).Switch().Namespace}
	for _, dir := range []string{"bin", "usr/bin", "usr/lib/systemd", "etc", "tmp", "run/systemd/system", "var/lib/dpkg/info", "var/lib/dpkg/updates", "proc/1"} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.write("bin/busybox", string(busybox))
	for _, name := range []string{"sh", "rm", "echo", "ls"} {
		if err := os.Symlink("busybox", filepath.Join(r.dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	r.own(true)
	for _, name := range []string{"usr/bin/systemctl", "usr/bin/systemd-sysusers", "usr/bin/systemd-tmpfiles", "usr/lib/systemd/systemd-sysctl"} {
		r.write(name, "#!/bin/sh\necho \"${0##*/} $*\" >>/calls\n")
	}
	r.write("var/lib/dpkg/status", "")
	return r
}

// own makes the root look like that of the machine, or like another's.
func (r packageRoot) own(yes bool) {
	r.t.Helper()
	link := filepath.Join(r.dir, "proc/1/root")
	_ = os.Remove(link)
	if !yes {
		return
	}
	if err := os.Symlink("/", link); err != nil {
		r.t.Fatal(err)
	}
}

// command returns what runs a program on the root.
func (r packageRoot) command(program string, arg ...string) *exec.Cmd {
	if program == "rpm" { // Debian's would keep its database in the caller's home
		arg = append([]string{"--dbpath=/var/lib/rpm"}, arg...)
	}
	cmd := r.net.Command(r.t.Context(), program, append([]string{"--root=" + r.dir}, arg...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

// filtered puts tables into the packet filter as two daemons leave them, and another.
func (r packageRoot) filtered() {
	r.t.Helper()
	if err := r.net.Run("nft", "add table inet flanneld; add table inet flanneld-0123abcd; add table inet others"); err != nil {
		r.t.Fatal(err)
	}
}

// wantTables looks at which of those are left.
func (r packageRoot) wantTables(after, want string) {
	r.t.Helper()
	out, err := r.net.Output("nft", "list", "tables")
	if err != nil {
		r.t.Fatal(err)
	}
	tables := strings.Fields(strings.ReplaceAll(out, "table inet ", ""))
	slices.Sort(tables)
	if got := strings.Join(tables, " "); got != want {
		r.t.Errorf("after %s the tables in nftables are %q, want %q", after, got, want)
	}
}

func (r packageRoot) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o755); err != nil {
		r.t.Fatal(err)
	}
}

func (r packageRoot) read(name string) string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

func (r packageRoot) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(r.dir, name))
	return err == nil
}

// run runs rpm or dpkg on the root. Whatever they say is wrong: a script that
// fails after an installation is a warning only. That our programs are in
// directories that no package owns does not count.
func (r packageRoot) run(program string, arg ...string) {
	r.t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		r.t.Skip(program, "is not installed")
	}
	out, err := r.command(program, arg...).CombinedOutput()
	told := regexp.MustCompile(`(?m)^dpkg: warning: .* not empty so not removed$`).ReplaceAll(out, nil)
	if err != nil || regexp.MustCompile(`(?i)warning|error|fail`).Match(told) {
		r.t.Fatalf("%s %v: %v\n%s", program, arg, err, out)
	}
}

// calls returns what the packages' scripts called since the last time.
func (r packageRoot) calls() string {
	name := filepath.Join(r.dir, "calls")
	text, _ := os.ReadFile(name)
	_ = os.Remove(name)
	return string(text)
}

// wantInstalled looks at every file, and at what the scripts have called.
func (r packageRoot) wantInstalled() {
	r.t.Helper()
	for from, to := range files {
		want, err := os.ReadFile(from)
		if err != nil {
			r.t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(r.dir, to)); err != nil || !bytes.Equal(got, want) {
			r.t.Errorf("%s is not as it is here: %v", to, err)
		}
	}
	const install = "systemd-sysusers flannel.conf\nsystemd-tmpfiles --create flannel.conf\nsystemd-sysctl 60-flannel.conf\nsystemctl daemon-reload\n"
	if got := r.calls(); got != install {
		r.t.Errorf("the installation called\n%swant\n%s", got, install)
	}
}

const (
	upgradeCalls = "systemd-sysusers flannel.conf\nsystemd-tmpfiles --create flannel.conf\nsystemd-sysctl 60-flannel.conf\nsystemctl daemon-reload\nsystemctl try-restart flanneld.service flanneld@*.service\n"
	removeCalls  = "systemctl --no-reload disable --now flanneld.service flanneld-docker.path\nsystemctl --no-reload disable flanneld@.service\nsystemctl stop flanneld@*.service\nsystemctl daemon-reload\n"
	edited       = "FLANNEL_OPTIONS=--edited\n"
	allTables    = "flanneld flanneld-0123abcd others"
)

// TestPackagesInstall installs, upgrades and removes both kinds, beside packages
// of the names that they depend on and take the place of.
func TestPackagesInstall(t *testing.T) {
	if testing.Short() {
		t.Skip("builds packages")
	}
	oldDeb, oldRPM := makePackages(t, "VERSION=v1.0.0")
	newDeb, newRPM := makePackages(t, "VERSION=v1.1.0")
	other := otherPackages(t)

	t.Run("rpm", func(t *testing.T) {
		r := newPackageRoot(t)
		r.run("rpm", "-i", other("iproute", "rpm"), other("flannel", "rpm"))
		if !r.exists("usr/bin/flanneld") {
			t.Fatal("flannel was not installed")
		}
		r.run("rpm", "-U", oldRPM)
		r.wantInstalled()
		query := func(arg ...string) string {
			return output(t, "rpm", append([]string{"--root=" + r.dir, "--dbpath=/var/lib/rpm", "-q"}, arg...)...)
		}
		if got := query("-a", "--qf", "%{NAME}-%{VERSION}\n"); !strings.Contains(got, "flanneld-1.0.0\n") || strings.Contains(got, "flannel-0") {
			t.Errorf("installed are\n%s", got)
		}
		for question, want := range map[string]string{"--conflicts": "flannel", "--obsoletes": "flannel", "--configfiles": "/etc/default/flanneld"} {
			if got := strings.TrimSpace(query(question, "flanneld")); got != want {
				t.Errorf("%s is %q, want %q", question, got, want)
			}
		}
		if got := query("--qf", "[%{FILENAMES} %{FILEFLAGS:fflags}\n]", "flanneld"); !strings.Contains(got, "/etc/default/flanneld cn\n") {
			t.Errorf("the configuration would be replaced: %s", got)
		}
		r.run("rpm", "-V", "flanneld")

		r.write("etc/default/flanneld", edited)
		r.filtered()
		r.run("rpm", "-U", newRPM)
		r.wantTables("an upgrade", allTables)
		if got := r.calls(); got != upgradeCalls+"systemctl daemon-reload\n" {
			t.Errorf("the upgrade called\n%s", got)
		}
		if got := r.read("etc/default/flanneld"); got != edited {
			t.Errorf("the upgrade made the configuration %q", got)
		}

		r.write("etc/default/flanneld", r.read("etc/default/flanneld")+"#\n")
		out, err := r.command("rpm", "-e", "flanneld").CombinedOutput() // warns of what it saves
		if err != nil {
			t.Fatalf("rpm -e: %v\n%s", err, out)
		}
		if got := r.calls(); got != removeCalls {
			t.Errorf("the removal called\n%s", got)
		}
		r.wantTables("a removal", "others")
		if r.exists("usr/bin/flanneld") || r.exists("usr/lib/systemd/system/flanneld.service") || !r.exists("etc/default/flanneld.rpmsave") {
			t.Errorf("after the removal the program is there: %v, the unit: %v, the edited configuration: %v", r.exists("usr/bin/flanneld"),
				r.exists("usr/lib/systemd/system/flanneld.service"), r.exists("etc/default/flanneld.rpmsave"))
		}
	})

	t.Run("deb", func(t *testing.T) {
		r := newPackageRoot(t)
		r.run("dpkg", "-i", other("iproute2", "deb"), other("flannel", "deb"))
		r.run("dpkg", "-i", oldDeb)
		r.wantInstalled()
		state := func(name string) string {
			out, _ := exec.Command("dpkg-query", "--admindir="+r.dir+"/var/lib/dpkg", "-W", "-f", "${db:Status-Status} ${Version}", name).Output()
			return string(out)
		}
		if got := state("flanneld"); got != "installed 1.0.0-1" {
			t.Errorf("flanneld is %q", got)
		}
		if got := state("flannel"); strings.HasPrefix(got, "installed") {
			t.Errorf("flannel is %q", got)
		}
		r.run("dpkg", "-V", "flanneld")

		r.write("etc/default/flanneld", edited)
		r.filtered()
		r.run("dpkg", "-i", newDeb)
		r.wantTables("an upgrade", allTables)
		if got := r.calls(); got != upgradeCalls && got != "systemctl daemon-reload\n"+upgradeCalls {
			t.Errorf("the upgrade called\n%s", got)
		}
		if got := r.read("etc/default/flanneld"); got != edited {
			t.Errorf("the upgrade made the configuration %q", got)
		}

		if err := os.MkdirAll(filepath.Join(r.dir, "var/lib/flannel"), 0o755); err != nil {
			t.Fatal(err)
		}
		r.write("var/lib/flannel/node-id", "1")
		r.run("dpkg", "-r", "flanneld")
		if got := r.calls(); got != removeCalls {
			t.Errorf("the removal called\n%s", got)
		}
		r.wantTables("a removal", "others")
		if r.exists("usr/bin/flanneld") || !r.exists("etc/default/flanneld") || !r.exists("var/lib/flannel/node-id") {
			t.Error("the removal left the program, or took the configuration or the state")
		}
		r.run("dpkg", "-P", "flanneld")
		if r.exists("etc/default/flanneld") || r.exists("var/lib/flannel") {
			t.Error("the purge left the configuration or the state")
		}
		if got := state("flanneld"); strings.HasPrefix(got, "installed") || strings.HasPrefix(got, "config") {
			t.Errorf("after the purge flanneld is %q", got)
		}

		// In a root that is not the machine's, its rules are those of the machine.
		r.run("dpkg", "-i", newDeb)
		r.filtered()
		r.own(false)
		r.run("dpkg", "-r", "flanneld")
		r.wantTables("a removal in another root", allTables)
	})
}

// otherPackages returns a function that makes packages: what ours depend on, and
// flannel, with files that ours has as well.
func otherPackages(t *testing.T) func(name, kind string) string {
	t.Helper()
	dir := t.TempDir()
	nfpm := filepath.Join(dir, "nfpm")
	build := exec.Command("go", "build", "-o", nfpm, "github.com/goreleaser/nfpm/v2/cmd/nfpm")
	build.Dir = "package"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build nfpm: %v\n%s", err, out)
	}
	return func(name, kind string) string {
		t.Helper()
		text := fmt.Sprintf("name: %s\narch: all\nversion: 0.17.0\nmaintainer: nobody <nobody@localhost>\ndescription: another\n", name)
		if name == "flannel" {
			text += "contents:\n  - {src: flanneld.service, dst: /usr/lib/systemd/system/flanneld.service}\n  - {src: flanneld.service, dst: /usr/bin/flanneld}\n"
		} else if kind == "rpm" {
			text += "provides: [/bin/sh]\n"
		}
		config := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(dir, name+"."+kind)
		if out, err := exec.Command(nfpm, "package", "--config", config, "--packager", kind, "--target", target).CombinedOutput(); err != nil {
			t.Fatalf("make %s: %v\n%s", target, err, out)
		}
		return target
	}
}
