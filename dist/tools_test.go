package dist_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// makeTools returns the command for `make tools` on a machine that lacks packages
// and whose apt-get is a shell script. The script finds the policy that keeps services
// from starting in $POLICY, which is the second result.
func makeTools(t *testing.T, lacks, aptGet string) (cmd *exec.Cmd, policy string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"apt-get":    aptGet,
		"dpkg-query": "case \" " + lacks + " \" in *\" $4 \"*) exit 1;; esac; echo -n installed",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	policy = filepath.Join(dir, "policy-rc.d")
	cmd = exec.Command("make", "--no-print-directory", "-C", "..", "tools", "POLICY="+policy)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "POLICY="+policy)
	return cmd, policy
}

func TestToolsAreInstalled(t *testing.T) {
	for name, row := range map[string]struct {
		lacks, aptGet string
		fails         bool
		want          string // in the output
	}{
		"none missing":       {"", "exit 9", false, ""},
		"installed":          {"ethtool rpm", "[ $1 = update ] || echo does: $*", false, "does: install -q -y --no-install-recommends ethtool\n"},
		"kept from starting": {"ethtool", "[ $1 = update ] || { $POLICY; echo says $?; }", false, "says 101\n"},
		"old lists will do":  {"ethtool", "[ $1 = install ]", false, "installing: ethtool\n"},
		"sbin is in PATH":    {"ethtool", "echo :$PATH:", false, ":/usr/sbin:/sbin:/usr/local/go/bin:\n"},
		"no archive":         {"ethtool dbus", "[ $1 = update ] || exit 100", true, "error: apt-get did not install ethtool dbus\nhint: "},
		"only an optional":   {"rpm", "[ $1 = update ] || exit 100", false, "note: not installed: rpm; "},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, policy := makeTools(t, row.lacks, row.aptGet)
			out, err := cmd.CombinedOutput()
			if (err != nil) != row.fails || !strings.Contains(string(out), row.want) || row.want == "" && len(out) > 0 {
				t.Errorf("make tools: %v, want failure: %v, output with %q:\n%s", err, row.fails, row.want, out)
			}
			if _, err := os.Lstat(policy); !os.IsNotExist(err) {
				t.Errorf("the policy stays: %v", err)
			}
		})
	}
}

// TestWhatTestsTakeIsSaidFirst, before anything is installed or built, and only of all tests.
func TestWhatTestsTakeIsSaidFirst(t *testing.T) {
	run := func(args ...string) string {
		return output(t, "make", append([]string{"--no-print-directory", "-C", ".."}, args...)...)
	}
	const says = "This takes "
	if said := run("notice"); !strings.HasPrefix(said, says) {
		t.Errorf("of all tests it says %q", said)
	}
	if said := run("notice", "PKGS=./subnet/..."); said != "" {
		t.Errorf("of a part it says %q", said)
	}
	plan := run("--dry-run", "test")
	at := strings.Index(plan, says)
	for _, later := range []string{".ci/go", "dpkg-query", "go build", "go vet"} {
		if i := strings.Index(plan, later); at < 0 || i < at {
			t.Errorf("%q is at %d of what make test does, and what it says at %d", later, i, at)
		}
	}
}

// An interrupt from the terminal goes to the whole group.
func TestToolsInterrupted(t *testing.T) {
	cmd, policy := makeTools(t, "ethtool", "echo runs; exec sleep 60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer limit.Stop()
	var said strings.Builder
	for buf := make([]byte, 512); !strings.Contains(said.String(), "runs\n"); {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Fatalf("make tools ended: %v\n%s", err, said.String())
		}
	}
	if _, err := os.Stat(policy); err != nil {
		t.Errorf("no policy while apt-get runs: %v", err)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("make tools succeeded")
	}
	if _, err := os.Lstat(policy); !os.IsNotExist(err) {
		t.Errorf("the policy stays: %v", err)
	}
}
