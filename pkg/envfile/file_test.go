package envfile_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/envfile"
)

func TestReadOfNoFileIsNone(t *testing.T) {
	vars, err := envfile.Read(filepath.Join(t.TempDir(), "none.env"))
	if vars != nil || err != nil {
		t.Errorf("got %v, %v", vars, err)
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.env")
	if err := os.WriteFile(path, []byte("junk\nA=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	vars, err := envfile.Read(path)
	if diff := cmp.Diff(map[string]string{"A": "1"}, vars); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestReadRefusesWhatIsNoSmallFile(t *testing.T) {
	dir := t.TempDir()
	fifo, large := filepath.Join(dir, "fifo"), filepath.Join(dir, "large")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, bytes.Repeat([]byte("\n"), 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, large, "/dev/zero"} {
		if vars, err := envfile.Read(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Read(%s) = %v, %v", path, vars, err)
		}
	}
}

func TestWriteIfChanged(t *testing.T) {
	// Whatever the umask, other users' programs read the file.
	defer syscall.Umask(syscall.Umask(0o077))
	path := filepath.Join(t.TempDir(), "a", "b", "x.env")
	for _, tt := range []struct {
		content string
		want    bool
	}{{"A=1\n", true}, {"A=1\n", false}, {"A=2\n", true}, {"", true}, {"", false}} {
		before, _ := os.Stat(path)
		changed, err := envfile.WriteIfChanged(path, []byte(tt.content))
		if err != nil || changed != tt.want {
			t.Errorf("write of %q: %t, %v; want %t", tt.content, changed, err, tt.want)
		}
		after, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if os.SameFile(before, after) == tt.want {
			t.Errorf("write of %q: replaced is %t", tt.content, !tt.want)
		}
		if after.Mode().Perm() != 0o644 {
			t.Errorf("mode is %v", after.Mode())
		}
		if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm() != 0o755 {
			t.Errorf("the directory's mode is %v, %v", dir.Mode(), err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != tt.content {
			t.Errorf("file has %q, %v; want %q", got, err, tt.content)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWriteKeepsTheMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.env")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o664); err != nil {
		t.Fatal(err)
	}
	if changed, err := envfile.WriteIfChanged(path, []byte("A=1\n")); !changed || err != nil {
		t.Error(changed, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o664 {
		t.Error(info.Mode(), err)
	}
}

func TestWriteToNameWithoutSlash(t *testing.T) {
	t.Chdir(t.TempDir())
	if changed, err := envfile.WriteIfChanged("x.env", []byte("A=1\n")); !changed || err != nil {
		t.Error(changed, err)
	}
	if _, err := os.Stat("x.env"); err != nil {
		t.Error(err)
	}
}

func TestWriteKeepsLinks(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for link, to := range map[string]string{
		"sub":         "deep/er",    // a directory
		"deep/er/one": "../two.env", // counts from deep/er, not from sub
		"loop":        "loop",
	} {
		if err := os.MkdirAll("deep/er", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	for _, content := range []string{"A=1\n", "A=2\n"} { // dangling, then not
		if changed, err := envfile.WriteIfChanged("sub/one", []byte(content)); !changed || err != nil {
			t.Error(changed, err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "deep/two.env")); err != nil || string(got) != content {
			t.Errorf("behind the link is %q, %v", got, err)
		}
	}
	if to, err := os.Readlink("deep/er/one"); err != nil || to != "../two.env" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if _, err := envfile.WriteIfChanged("loop", nil); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("a loop of links: %v", err)
	}
}

func TestWriteErrorNamesThePathAndLeavesItAlone(t *testing.T) {
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, filepath.Join(file, "x.env"), "/proc/none/x.env", ""} {
		changed, err := envfile.WriteIfChanged(path, []byte("A=1\n"))
		if changed || err == nil || !strings.Contains(err.Error(), "write "+path) {
			t.Errorf("WriteIfChanged(%q) = %t, %v", path, changed, err)
		}
	}
	if info, err := os.Lstat(fifo); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Error("the FIFO was replaced")
	}
}
