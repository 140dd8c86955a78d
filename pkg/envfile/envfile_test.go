package envfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/envfile"
)

func TestParseReadsForeignContent(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     map[string]string
	}{
		{"plain", "A=1\nB=x y\n", map[string]string{"A": "1", "B": "x y"}},
		{"quotes, export, CRLF, comment", "export A=\"1\"\r\n# c\nB='2'\n", map[string]string{"A": "1", "B": "2"}},
		{"Docker options", "DOCKER_OPTS=\" --bip=10.1.2.1/24 --mtu=1450\"\n", map[string]string{"DOCKER_OPTS": " --bip=10.1.2.1/24 --mtu=1450"}},
		{"last wins", "A=1\nA=2", map[string]string{"A": "2"}},
		{"junk", "\x00\xff\n=1\n1A=2\nno\nA B=3\n", map[string]string{}},
		{"empty", "", map[string]string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, envfile.Parse([]byte(tt.in))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWriteIfChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "subnet.env")
	for _, tt := range []struct {
		content string
		want    bool
	}{{"A=1\n", true}, {"A=1\n", false}, {"A=2\n", true}} {
		changed, err := envfile.WriteIfChanged(path, []byte(tt.content))
		if err != nil || changed != tt.want {
			t.Errorf("write of %q: %t, %v; want %t", tt.content, changed, err, tt.want)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := envfile.WriteIfChanged("/proc/nowhere/subnet.env", nil); err == nil {
		t.Error("a file that cannot be written is no error")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("FLANNEL_SUBNET=10.1.2.1/24\n"))
	f.Add([]byte("export A='x\r\n\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for name := range envfile.Parse(data) {
			if name == "" {
				t.Error("a variable without a name")
			}
		}
	})
}
