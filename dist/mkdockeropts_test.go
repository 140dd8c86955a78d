package dist_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const subnetEnv = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n"

const (
	singles = "DOCKER_OPT_BIP=\"--bip=10.1.74.1/24\"\nDOCKER_OPT_IPMASQ=\"--ip-masq=false\"\nDOCKER_OPT_MTU=\"--mtu=1472\"\n"
	all     = "DOCKER_OPTS=\" --bip=10.1.74.1/24 --ip-masq=false --mtu=1472\"\n"
)

// run is one call of the script in a directory of its own, where the input is
// named in.env and the output out.env.
type run struct {
	name   string
	in     string // content of in.env; empty: no such file
	args   []string
	env    []string
	before string // content of out.env before; empty: no such file

	want   string // content of out.env
	code   int
	stderr string // part of what is printed
}

var cases = []run{
	{name: "both kinds", in: subnetEnv, want: singles + all},
	{name: "-i -c is both", in: subnetEnv, args: []string{"-i", "-c"}, want: singles + all},
	{name: "individual", in: subnetEnv, args: []string{"-i"}, want: singles},
	{name: "combined", in: subnetEnv, args: []string{"-c"}, want: all},
	{name: "other name", in: subnetEnv, args: []string{"-ckDOCKER_NETWORK_OPTIONS"}, want: strings.Replace(all, "DOCKER_OPTS", "DOCKER_NETWORK_OPTIONS", 1)},
	{name: "no masquerade option", in: subnetEnv, args: []string{"-c", "-m"}, want: "DOCKER_OPTS=\" --bip=10.1.74.1/24 --mtu=1472\"\n"},
	{name: "masquerade left to Docker", in: "FLANNEL_IPMASQ=false\n", want: "DOCKER_OPT_IPMASQ=\"--ip-masq=true\"\nDOCKER_OPTS=\" --ip-masq=true\"\n"},
	{name: "no input", want: "DOCKER_OPTS=\"\"\n"},
	{name: "no input, individual", args: []string{"-i"}, before: "old", want: ""},
	{name: "output is replaced", in: subnetEnv, args: []string{"-c"}, before: strings.Repeat("old\n", 99), want: all},
	{name: "old options, two blanks", in: subnetEnv, args: []string{"-c"}, env: []string{"DOCKER_OPTS=--debug"},
		want: "DOCKER_OPTS=\"--debug  --bip=10.1.74.1/24 --ip-masq=false --mtu=1472\"\n"},
	{name: "other options are sorted in", in: "FLANNEL_MTU=1400\n", env: []string{"DOCKER_OPT_ZZ=-z", "DOCKER_OPT_DNS=--dns 8.8.8.8  9"},
		want: "DOCKER_OPT_DNS=\"--dns 8.8.8.8  9\"\nDOCKER_OPT_MTU=\"--mtu=1400\"\nDOCKER_OPT_ZZ=\"-z\"\n" +
			"DOCKER_OPTS=\" --dns 8.8.8.8  9 --mtu=1400 -z\"\n"},
	{name: "option that is set in the input", in: "DOCKER_OPT_X='--x y'\n", args: []string{"-i"}, want: "DOCKER_OPT_X=\"--x y\"\n"},
	{name: "special characters", env: []string{`DOCKER_OPT_X=a"b\c$d` + "`e*"}, args: []string{"-i"},
		want: `DOCKER_OPT_X="a\"b\\c\$d` + "\\`e*\"\n"},
	{name: "value that looks like a variable", env: []string{"OTHER=x\nDOCKER_OPT_FORGED=1"}, want: "DOCKER_OPTS=\"\"\n"},
	{name: "bad masquerade value", in: "FLANNEL_IPMASQ=maybe\n", before: "old\n", want: "old\n", code: 1, stderr: "Invalid value of FLANNEL_IPMASQ: maybe\n"},
	{name: "help", args: []string{"-h"}, before: "old", want: "old", code: 1, stderr: "usage: "},
	{name: "question mark", args: []string{"-?"}, before: "old", want: "old", code: 1, stderr: "usage: "},
	{name: "unknown option", args: []string{"-x"}, before: "old", want: "old", code: 1, stderr: "usage: "},
	{name: "argument that is no option", args: []string{"extra", "-i"}, before: "old", want: "old", code: 1, stderr: "unexpected argument: extra\nusage: "},
	{name: "end of the options", in: subnetEnv, args: []string{"-i", "--"}, want: singles},
	{name: "name that is code", args: []string{"-k", "A;echo"}, before: "old", want: "old", code: 1, stderr: "bad variable name"},
	{name: "CR LF", in: strings.ReplaceAll(subnetEnv, "\n", "\r\n"), want: singles + all},
	{name: "no line end", in: strings.TrimSuffix(subnetEnv, "\n"), want: singles + all},
	{name: "input that is no script", in: "((\"\n" + subnetEnv, want: singles + all, stderr: "not a shell script"},
	{name: "input that ends the shell", in: subnetEnv + "exit 0\n", want: singles + all, stderr: "not a shell script"},
	{name: "input that breaks the tools", in: subnetEnv + "PATH=/none\nIFS=1\nset -ef\nindividual=x\n", want: singles + all},
	{name: "input that prints", in: "echo X=1\n" + subnetEnv, want: singles + all},
	{name: "input with Docker options", in: "DOCKER_OPT_BIP=\"--bip=10.9.9.1/24\"\n", args: []string{"-c"}, want: "DOCKER_OPTS=\" --bip=10.9.9.1/24\"\n"},
	{name: "no directory", args: []string{"-d", "none/out.env"}, before: "old", want: "old", code: 1, stderr: "there is no directory"},
	{name: "directory as output", args: []string{"-d", "."}, before: "old", want: "old", code: 1, stderr: "is a directory"},
	{name: "route by way of another host", in: subnetEnv, args: []string{"-c"}, env: []string{"ROUTES=10.1.74.0/24 via 192.168.1.1 dev eth0"},
		want: all, stderr: "warning: there is a route"},
	{name: "route in the middle", in: "FLANNEL_SUBNET=10.1.75.1/23\n", args: []string{"-i"}, env: []string{"ROUTES=default via 1.1.1.1\n10.1.74.0/23 via 1.1.1.2\n"},
		want: "DOCKER_OPT_BIP=\"--bip=10.1.75.1/23\"\n", stderr: "10.1.74.0/23"},
	{name: "Docker's file has one, too", in: subnetEnv, args: []string{"-c", "-j", "daemon.json"}, env: []string{`DAEMON_JSON={"debug": true,` + "\n" + ` "mtu" : 1400}`},
		want: all, stderr: "warning: daemon.json sets mtu,"},
	{name: "Docker's file has no bridge", in: subnetEnv, args: []string{"-c", "-j", "daemon.json"}, env: []string{`DAEMON_JSON={"bridge":"none"}`},
		want: all, stderr: "warning: daemon.json sets bridge,"},
	{name: "Docker's file has what is left to it", in: subnetEnv, args: []string{"-c", "-m", "-j", "daemon.json"},
		env:  []string{`DAEMON_JSON={"ip-masq": false, "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1400"}}}`},
		want: "DOCKER_OPTS=\" --bip=10.1.74.1/24 --mtu=1472\"\n"},
	{name: "subnet that is none", in: "FLANNEL_SUBNET=08.1.1.1/99\n", args: []string{"-i"}, want: "DOCKER_OPT_BIP=\"--bip=08.1.1.1/99\"\n"},
}

func TestMkDockerOpts(t *testing.T) {
	script, err := filepath.Abs("mk-docker-opts.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"bash"}, {"busybox", "sh"}} {
		t.Run(strings.Join(shell, " "), func(t *testing.T) {
			if _, err := exec.LookPath(shell[0]); err != nil {
				t.Skip("shell is not installed:", err)
			}
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					if shell[0] == "busybox" && strings.Contains(strings.Join(c.env, " "), "ROUTES=") {
						t.Skip("busybox runs its own ip, not the one in PATH")
					}
					c.check(t, append(shell[:len(shell):len(shell)], script))
				})
			}
		})
	}
}

func (c run) check(t *testing.T, shell []string) {
	dir := t.TempDir()
	// The host's own routes must not decide.
	write(t, filepath.Join(dir, "bin", "ip"), "#!/bin/sh\n[ -z \"$ROUTES\" ] || echo \"$ROUTES\"\n", 0o755)
	if c.in != "" {
		write(t, filepath.Join(dir, "in.env"), c.in, 0o644)
	}
	for _, e := range c.env {
		if text, ok := strings.CutPrefix(e, "DAEMON_JSON="); ok {
			write(t, filepath.Join(dir, "daemon.json"), text, 0o644)
		}
	}
	out := filepath.Join(dir, "out.env")
	if c.before != "" {
		write(t, out, c.before, 0o640)
	}
	args := append(append(shell[1:len(shell):len(shell)], "-f", "in.env", "-d", "out.env"), c.args...)
	cmd := exec.Command(shell[0], args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH")}, c.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	code := 0
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
		code = exit.ExitCode()
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Errorf("%v; stderr: %s", err, &stderr)
	}
	if diff := cmp.Diff(c.want, string(got)); diff != "" {
		t.Errorf("output (-want +got):\n%s\nstderr: %s", diff, &stderr)
	}
	if code != c.code || !strings.Contains(stderr.String(), c.stderr) || stdout.Len() > 0 {
		t.Errorf("exit status %d, want %d; stdout: %q; stderr: %q, want %q", code, c.code, &stdout, &stderr, c.stderr)
	}
	if c.code == 0 && c.stderr == "" && strings.Contains(stderr.String(), "warning") {
		t.Errorf("warns of nothing: %s", &stderr)
	}
	mode := os.FileMode(0o644) // under the usual umask
	if c.before != "" {
		mode = 0o640
	}
	if info, err := os.Stat(out); err == nil && info.Mode().Perm() != mode&^umask(t) {
		t.Errorf("mode is %v, want %v", info.Mode().Perm(), mode&^umask(t))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".out.env.*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestMkDockerOptsWritesThroughLinksAndToDevices(t *testing.T) {
	script, err := filepath.Abs("mk-docker-opts.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "in.env"), subnetEnv, 0o644)
	if err := os.Symlink("real.env", filepath.Join(dir, "link.env")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // without the file, then with it
		cmd := exec.Command(script, "-c", "-f", "in.env", "-d", "link.env")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "real.env")); err != nil || string(got) != all {
			t.Errorf("behind the link is %q, %v", got, err)
		}
	}
	cmd := exec.Command(script, "-c", "-f", "in.env", "-d", "/dev/stdout")
	cmd.Dir = dir
	if out, err := cmd.Output(); err != nil || string(out) != all {
		t.Errorf("printed %q, %v", out, err)
	}
}

// umask is what a new file's mode lacks of 0644.
func umask(t *testing.T) os.FileMode {
	path := filepath.Join(t.TempDir(), "probe")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return 0o644 &^ info.Mode().Perm()
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}
