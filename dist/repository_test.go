package dist_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"flanneld/pkg/netlab/machine"
)

// makeRepository makes signed repositories of this machine's packages, which hosts find at a URL.
func makeRepository(t *testing.T, url string) (dir string) {
	t.Helper()
	if os.Getenv("FLANNELD_TEST_RELEASE") == "" {
		t.Skip("builds packages, and installs them in a Debian of their own: FLANNELD_TEST_RELEASE is not set")
	}
	for _, program := range []string{"apt-ftparchive", "createrepo_c", "gpg"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program, "is not installed")
		}
	}
	deb, _ := makePackages(t)
	// gpg's agent listens at a path of at most 108 bytes.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	output(t, "gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "test", "rsa3072", "sign", "never")
	key, dir := filepath.Join(home, "key"), t.TempDir()
	output(t, "gpg", "--homedir", home, "--batch", "--quiet", "--armor", "--output", key, "--export-secret-keys")
	out, err := exec.Command("make", "--no-print-directory", "-C", "..", "repository", "FROM="+filepath.Dir(deb), "OUT="+dir, "URL="+url, "GPG_KEY="+key).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "of 1 and 1 packages, signed.") {
		t.Fatalf("make repository: %v\n%s", err, out)
	}
	return dir
}

// spoil changes one byte of a file.
func spoil(t *testing.T, path, old, with string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q: %v", path, old, err)
	}
	write(t, path, strings.Replace(string(text), old, with, 1), 0o644)
}

// A Debian that has nothing of ours installs it, as docs/install.md says.
func TestRepositoryForApt(t *testing.T) {
	if err := machine.Supported(); err != nil {
		t.Skip(err)
	}
	dir := makeRepository(t, "file:///srv/flanneld")
	root, err := machine.DockerHost().Build(t.Context(), machine.CacheDir())
	if err != nil {
		t.Fatal(err)
	}
	install := func() (string, error) {
		out, err := exec.Command("unshare", "--mount", "sh", "-euc", `
			root=$1 repository=$2
			mount -t tmpfs tmpfs "$3" && mkdir "$3/upper" "$3/work" "$3/root" && cd "$3"
			mount -t overlay -o "lowerdir=$root,upperdir=upper,workdir=work" overlay root
			mkdir -p root/srv/flanneld root/etc/apt/keyrings
			mount --bind "$repository" root/srv/flanneld
			mount --bind /dev root/dev && mount -t proc proc root/proc
			rm -f root/etc/apt/sources.list root/etc/apt/sources.list.d/*
			cp "$repository/flanneld.asc" root/etc/apt/keyrings/
			cp "$repository/flanneld.sources" root/etc/apt/sources.list.d/
			export DEBIAN_FRONTEND=noninteractive LC_ALL=C
			chroot root apt-get update -o APT::Update::Error-Mode=any
			chroot root apt-get install -y flanneld
			chroot root flanneld --version`, "sh", root, dir, t.TempDir()).CombinedOutput()
		return string(out), err
	}
	version := strings.TrimSpace(output(t, "git", "describe", "--tags", "--always", "--dirty"))
	if out, err := install(); err != nil || !strings.Contains(out, "\n"+version+"\ncommit ") {
		t.Errorf("%v: %s", err, out)
	}
	spoil(t, dir+"/deb/dists/stable/InRelease", "Label: flanneld", "Label: Flanneld")
	if out, err := install(); err == nil || !strings.Contains(out, "BADSIG") {
		t.Errorf("apt takes what is signed otherwise: %v: %s", err, out)
	}
}

func TestRepositoryForDnf(t *testing.T) {
	dir := makeRepository(t, "")
	if _, err := exec.LookPath("dnf"); err != nil {
		t.Skip("dnf is not installed")
	}
	query := func() (string, error) {
		root := t.TempDir()
		if err := os.Mkdir(root+"/log", 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("dnf", "--assumeyes", "--installroot="+root, "--releasever=1", "--setopt=reposdir="+dir, "--setopt=cachedir="+root+"/cache",
			"--setopt=logdir="+root+"/log", "--setopt=persistdir="+root+"/lib", "repoquery", "--location", "flanneld").CombinedOutput()
		return string(out), err
	}
	found, _ := filepath.Glob(dir + "/rpm/flanneld-*.rpm")
	out, err := query()
	if err != nil || len(found) != 1 || runtime.GOARCH == "amd64" && !strings.Contains(out, "file://"+found[0]) {
		t.Errorf("%v: dnf finds %s, want %v", err, out, found)
	}
	spoil(t, dir+"/rpm/repodata/repomd.xml", "</revision>", "0</revision>")
	if out, _ := query(); strings.Contains(out, "file://"+found[0]) || !strings.Contains(out, "Bad GPG signature") {
		t.Errorf("dnf takes what is signed otherwise: %s", out)
	}
}
