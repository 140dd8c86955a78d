package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab/script"
)

// mirrors runs flannelctl beside etcd, for each script the one that it began last.
type mirrors struct {
	path    string // of flannelctl
	running map[*script.Script]*script.Process
}

// newMirrors builds flannelctl, unless FLANNELD_TEST_FLANNELCTL has the path of one: there may be no Go.
func newMirrors(t *testing.T) *mirrors {
	m := &mirrors{path: os.Getenv("FLANNELD_TEST_FLANNELCTL"), running: make(map[*script.Script]*script.Process)}
	if m.path != "" {
		return m
	}
	m.path = filepath.Join(t.TempDir(), "flannelctl")
	if out, err := exec.Command("go", "build", "-o", m.path, "../flannelctl").CombinedOutput(); err != nil {
		t.Fatalf("build flannelctl: %v\n%s", err, out)
	}
	return m
}

// flannelctl runs it to its end.
func (m *mirrors) flannelctl(s *script.Script, args []string) (string, error) {
	return s.Output(s.Lab.Switch().Command(s.Context(), m.path, args...))
}

// mirror begins a mirror, prints what the one that runs has said, or ends it and prints all
// that it said.
func (m *mirrors) mirror(s *script.Script, args []string) (string, error) {
	p := m.running[s]
	if args[0] != "begin" && p == nil {
		return "", script.Mistake("no mirror was begun")
	}
	switch args[0] {
	case "begin":
		m.running[s] = s.Start(s.Lab.Switch().Namespace, nil, m.path, append([]string{"migrate", "--from=v2", "--to=v3", "--mirror", "--yes"}, args[1:]...)...)
		return "", script.Eventually(5*time.Second, func() error {
			if out := m.running[s].Log.String(); !strings.Contains(out, "In step") {
				return fmt.Errorf("the mirror says %q", out)
			}
			return nil
		})
	case "log":
		return p.Log.String(), nil
	case "kill":
		p.Kill()
		return "", nil
	case "end":
		if err := p.Process.Signal(unix.SIGINT); err != nil {
			return "", err
		}
		if status, err := p.Exited(10 * time.Second); err != nil || status != 0 {
			return "", script.Mistake("the mirror ended with status %d, %v:\n%s", status, err, p.Log.String())
		}
		return p.Log.String(), nil
	}
	return "", script.Mistake("mirror %s: it can begin, log, kill and end", args[0])
}
