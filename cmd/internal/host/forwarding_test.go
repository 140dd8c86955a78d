package host

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Docker switches forwarding on a moment after the daemon is ready: that is no trouble.
func TestForwardingIsMissedOnlyIfItStaysOff(t *testing.T) {
	var logged bytes.Buffer
	c := forwarding{path: filepath.Join(t.TempDir(), "ip_forward"), log: problemLog{log: slog.New(slog.NewTextHandler(&logged, nil))}}
	for i, step := range []struct {
		file        string
		wrong       bool
		warns, told int // lines so far
	}{
		{"0\n", false, 0, 0},
		{"1\n", false, 0, 0},
		{"0\n", false, 0, 0},
		{"0\n", true, 1, 0},
		{"0\n", true, 1, 0},
		{"1\n", false, 1, 1},
		{"1\n", false, 1, 1},
		{"", false, 1, 1}, // a kernel that does not tell
	} {
		if err := os.WriteFile(c.path, []byte(step.file), 0o644); err != nil {
			t.Fatal(err)
		}
		p := c.check()
		warns, told := strings.Count(logged.String(), "level=WARN"), strings.Count(logged.String(), "level=INFO")
		if (p != (Problem{})) != step.wrong || warns != step.warns || told != step.told {
			t.Errorf("step %d: %q, %d warnings and %d lines that it is right again, want %+v", i, p, warns, told, step)
		}
	}
}
