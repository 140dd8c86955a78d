package etcdproc

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Program is an etcd that can be run, by its path or its name in PATH. All take the
// same arguments but for those of Knows.
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

// Knows returns the arguments that a program knows: etcd 3.6 and later do not have the
// v2 API, and no flag for it.
func (program Program) Knows(args []string) []string {
	if program == Debian {
		return args
	}
	out, err := exec.Command(string(program), "--help").CombinedOutput()
	if err != nil || strings.Contains(string(out), "enable-v2") {
		return args
	}
	return slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "--enable-v2=") })
}

// FlannelEtcd returns the one that `make etcd` has built in this tree. The test
// is skipped if it has not.
func FlannelEtcd(t testing.TB) Program { return built(t, "flannel-etcd", "make etcd") }

// Release returns the etcd of a release, "3.6" or "3.7", that `make etcds` has built in
// this tree. The test is skipped if it has not.
func Release(t testing.TB, release string) Program { return built(t, "etcd-"+release, "make etcds") }

// EachRelease runs a test on each etcd that there is: the chosen one, flannel-etcd, which
// is a 3.5, and those of Release.
func EachRelease(t *testing.T, test func(t *testing.T, program Program)) {
	for _, row := range []struct {
		name    string
		program func(testing.TB) Program
	}{
		{"chosen", func(testing.TB) Program { return Chosen() }},
		{"flannel-etcd", FlannelEtcd},
		{"3.6", func(t testing.TB) Program { return Release(t, "3.6") }},
		{"3.7", func(t testing.TB) Program { return Release(t, "3.7") }},
	} {
		t.Run(row.name, func(t *testing.T) { test(t, row.program(t)) })
	}
}

func built(t testing.TB, name, by string) Program {
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
	path := filepath.Join(dir, "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("bin/%s is not built (%s)", name, by)
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
