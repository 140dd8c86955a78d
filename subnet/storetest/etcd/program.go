package etcdproc

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Program is an etcd that can be run, by its path or its name in PATH. Debian's
// and flannel-etcd take the same arguments.
type Program string

// Debian is what the package etcd-server installs.
const Debian Program = "etcd"

// Chosen returns the one that the variable FLANNELD_TEST_ETCD names, and
// Debian's if it is empty.
func Chosen() Program {
	if p := os.Getenv("FLANNELD_TEST_ETCD"); p != "" {
		return Program(p)
	}
	return Debian
}

// knows returns the arguments that a program knows: etcd 3.6 and later do not have the
// v2 API, and no flag for it. Nobody chooses one but to see what is said of that.
func (program Program) knows(bin string, args []string) []string {
	if program == Debian || program != Chosen() {
		return args
	}
	out, err := exec.Command(bin, "--help").CombinedOutput()
	if err != nil || strings.Contains(string(out), "enable-v2") {
		return args
	}
	return slices.DeleteFunc(args, func(a string) bool { return strings.HasPrefix(a, "--enable-v2=") })
}

// FlannelEtcd returns the one that `make etcd` has built in this tree. The test
// is skipped if it has not.
func FlannelEtcd(t testing.TB) Program {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod in any directory above")
		}
	}
	path := filepath.Join(dir, "bin", "flannel-etcd")
	if _, err := os.Stat(path); err != nil {
		t.Skip("bin/flannel-etcd is not built (make etcd)")
	}
	return Program(path)
}

// Member is an etcd that stands alone.
type Member struct {
	Dir       string // its data
	Clients   string // URL at which it listens to clients
	Advertise string // URL that clients are told; empty: that one
	Peers     string // URL at which it would listen to other members
	Brisk     bool   // it elects itself sooner, and does not wait for the disk
}

// Args returns the arguments that start it with the v2 API, the same whether
// there are data from before or not.
func (m Member) Args() []string {
	if m.Advertise == "" {
		m.Advertise = m.Clients
	}
	args := []string{
		"--name=one", "--enable-v2=true", "--data-dir=" + m.Dir,
		"--listen-client-urls=" + m.Clients, "--advertise-client-urls=" + m.Advertise,
		"--listen-peer-urls=" + m.Peers, "--initial-advertise-peer-urls=" + m.Peers,
		"--initial-cluster=one=" + m.Peers,
	}
	if m.Brisk {
		args = append(args, "--unsafe-no-fsync", "--heartbeat-interval=20", "--election-timeout=100")
	}
	return args
}
