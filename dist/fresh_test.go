package dist_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"flanneld/pkg/netlab/machine"
)

// enterFresh makes a root of its own out of the one in $1, which it only reads, with all
// changes below $2, and runs the rest there as somebody at a fresh machine does.
const enterFresh = `
root=$1 changes=$2; shift 2
mkdir -p $changes/upper $changes/work $changes/root
mount -t overlay overlay -o lowerdir=$root,upperdir=$changes/upper,workdir=$changes/work $changes/root
cd $changes/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
cp -L /etc/resolv.conf etc/
cp -L /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ # a network may have an authority of its own
exec chroot . env -i HOME=/root TERM=dumb GOPROXY="${GOPROXY:-}" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
`

// TestFreshMachine types the README's commands on a Debian that has git, make and the
// authorities of the web, and nothing else: no Go above all.
func TestFreshMachine(t *testing.T) {
	goal := os.Getenv("FLANNELD_TEST_FRESH")
	if goal == "" {
		t.Skip("it takes minutes and gigabytes, and asks for archives of Debian and Go: run it with FLANNELD_TEST_FRESH=demo go test -timeout 0 -run TestFreshMachine -v ./dist, or =test, or =check")
	}
	if err := machine.CanStart(); err != nil {
		t.Skip(err)
	}
	root, err := machine.Recipe{Bare: true, Release: "bookworm", Packages: []string{"ca-certificates", "git", "make"}}.Build(t.Context(), machine.CacheDir())
	if err != nil {
		t.Fatal(err)
	}
	changes := t.TempDir()
	source := filepath.Join(changes, "upper", "flanneld")
	if out, err := exec.Command("git", "clone", "-q", "..", source).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v: %s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-euc", enterFresh, "sh", root, changes,
		"make", "-C", "/flanneld", goal)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout = io.MultiWriter(&out, t.Output())
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		t.Fatalf("make %s: %v", goal, err)
	}
	want := map[string]string{"demo": "host-gw  container to container", "check": "\nDONE ", "test": "\nDONE "}[goal]
	if !strings.Contains(out.String(), want) {
		t.Errorf("the output lacks %q", want)
	}
}
