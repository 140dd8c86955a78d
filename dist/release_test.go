package dist_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// release is what `make release` has made of this machine's architecture.
type release struct {
	*testing.T
	dir     string
	said    string // by make
	version string
}

// makeRelease is for tests that make test leaves out, since each takes minutes.
func makeRelease(t *testing.T, variables ...string) release {
	t.Helper()
	if os.Getenv("FLANNELD_TEST_RELEASE") == "" {
		t.Skip("makes a release, which takes minutes: FLANNELD_TEST_RELEASE is not set")
	}
	if _, err := exec.LookPath("mksquashfs"); err != nil {
		t.Skip("squashfs-tools is not installed")
	}
	r := release{T: t, dir: t.TempDir(), version: strings.TrimSpace(output(t, "git", "describe", "--tags", "--always", "--dirty"))}
	args := append([]string{"--no-print-directory", "-C", "..", "release", "ARCHES=" + runtime.GOARCH, "WITHOUT_ETCD=1", "OUT=" + r.dir}, variables...)
	out, err := exec.Command("make", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("make release: %v\n%s", err, out)
	}
	r.said = string(out)
	return r
}

// file is the path of one whose name the rest of is this.
func (r release) file(rest string) string { return filepath.Join(r.dir, "flanneld-"+r.version+rest) }

// A release that anybody makes again has the same bytes, signature included; what it is signed
// with, and that another byte is noticed, is tested in dist/release.
func TestReleaseIsTheSameTwice(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	variables := []string{"ARCHES=" + runtime.GOARCH + " s390x"}
	if _, err := exec.LookPath("minisign"); err == nil {
		output(t, "minisign", "-G", "-W", "-p", key+".pub", "-s", key)
		variables = append(variables, "KEY="+key)
	} else {
		t.Log("minisign is not installed: there is no key")
	}
	first, second := makeRelease(t, variables...), makeRelease(t, variables...)
	for _, name := range []string{"SHA256SUMS", "SHA256SUMS.minisig"} {
		a, err := os.ReadFile(filepath.Join(first.dir, name))
		b, again := os.ReadFile(filepath.Join(second.dir, name))
		if len(variables) > 1 && errors.Join(err, again) != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is another one the second time: %v, %v\n%s\n%s", name, err, again, a, b)
		}
	}
	if said := strings.ReplaceAll(second.said, second.dir, first.dir); said != first.said || !strings.Contains(said, "@sha256:") {
		t.Errorf("it says %s, and then %s", first.said, said)
	}
	check := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	check.Dir = first.dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	if len(variables) > 1 {
		output(t, "minisign", "-V", "-p", key+".pub", "-m", filepath.Join(first.dir, "SHA256SUMS"))
	}
	files, _ := filepath.Glob(first.dir + "/*")
	if want := 2*5 + 1 + len(variables); len(files) != want {
		t.Errorf("there are %d files, want %d: %v", len(files), want, files)
	}
}

func TestReleaseIsOfUse(t *testing.T) {
	r := makeRelease(t)
	if !strings.Contains(r.said, "not made: give KEY=") {
		t.Errorf("without a key it says %s", r.said)
	}
	t.Run("archive", func(t *testing.T) {
		root := t.TempDir()
		output(t, "tar", "-C", root, "--strip-components=1", "-xzf", r.file("-linux-"+runtime.GOARCH+".tar.gz"))
		r.runsIn(t, root)
		for from, to := range files {
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s is not in it: %v", from, err)
			}
		}
		for _, path := range []string{"LICENSE", "README.md", "copyright", "docs/systemd.md"} {
			if _, err := os.Stat(filepath.Join(root, "usr/share/doc/flanneld", path)); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("image", func(t *testing.T) {
		said := output(t, "skopeo", "inspect", "oci-archive:"+r.file("-oci.tar"))
		digest := r.said[strings.Index(r.said, "sha256:"):]
		digest, _, _ = strings.Cut(digest, "\n")
		if !strings.Contains(said, `"Digest": "`+digest+`"`) || !strings.Contains(said, `"org.opencontainers.image.version": "`+r.version+`"`) {
			t.Errorf("skopeo knows no digest %s: %s", digest, said)
		}
	})
	t.Run("system extension", func(t *testing.T) { r.extends(t) })
}

func (r release) runsIn(t *testing.T, root string) {
	t.Helper()
	out, err := exec.Command(filepath.Join(root, "usr/bin/flanneld"), "--version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), r.version+"\n") {
		t.Errorf("flanneld in it says %q, %v", out, err)
	}
}

// extends merges the system extension into a root whose /usr nobody can write then, and takes
// it out again.
func (r release) extends(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts, which takes root")
	}
	if _, err := exec.LookPath("systemd-sysext"); err != nil {
		t.Skip("systemd-sysext is not installed (Debian: systemd 248 or later)")
	}
	root := t.TempDir()
	for _, dir := range []string{"etc", "usr/lib", "usr/bin", "var/lib/extensions", "proc", "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "usr/lib/os-release"), "ID=host\nVERSION_ID=1\n", 0o644)
	image, err := os.ReadFile(r.file("-" + runtime.GOARCH + ".raw"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "var/lib/extensions/flanneld.raw"), string(image), 0o644)
	// The mounts are those of a namespace that ends with the script.
	out, err := exec.Command("unshare", "--mount", "sh", "-euxc", `
		mount --make-rshared / && mount --bind /run /run && mount --bind "$1" "$1"
		systemd-sysext --root="$1" merge
		"$1"/usr/bin/flanneld --version
		test -s "$1"/usr/lib/systemd/system/docker.service.d/flanneld.conf
		! touch "$1"/usr/lib/of-mine
		systemd-sysext --root="$1" unmerge
		! test -e "$1"/usr/bin/flanneld`, "sh", root).CombinedOutput()
	if err != nil || !strings.Contains(string(out), r.version+"\n") {
		t.Errorf("%v: %s", err, out)
	}
}
