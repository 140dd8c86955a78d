package doctor

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"flanneld/cmd/internal/status"
	"flanneld/pkg/envfile"
	"flanneld/pkg/flagtable"
)

// process is one that runs in this network namespace.
type process struct {
	pid  int
	args []string
}

// mostArgs bounds what is read of a process's arguments or environment, in bytes.
const mostArgs = 1 << 20

// dockerds returns the Docker daemons of this network namespace.
func dockerds() []process {
	return processes(func(args []string) bool { return filepath.Base(args[0]) == "dockerd" })
}

// Running returns the processes of this network namespace that are programs of that name, as
// far as they can be seen.
func Running(program string) (pids []int) {
	for _, p := range processes(func(args []string) bool { return filepath.Base(args[0]) == program }) {
		pids = append(pids, p.pid)
	}
	return pids
}

// processes returns those that are wanted, by their arguments, in this network namespace,
// as far as they can be seen.
func processes(want func(args []string) bool) (all []process) {
	own, err := os.Readlink("/proc/self/ns/net")
	dirs, globErr := filepath.Glob("/proc/[0-9]*")
	if err != nil || globErr != nil {
		return nil
	}
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir)) // digits
		args := strings.Split(procFile(pid, "cmdline"), "\x00")
		if args[0] == "" || !want(args) {
			continue
		}
		if ns, err := os.Readlink(dir + "/ns/net"); err == nil && ns == own {
			all = append(all, process{pid, args[1:]})
		}
	}
	return all
}

// procFile returns what the kernel says of a process, without the last zero byte; empty if
// it has gone, or may not be looked at.
func procFile(pid int, name string) string {
	f, err := os.Open(fmt.Sprintf("/proc/%d/%s", pid, name)) // its size says nothing
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, mostArgs)) // what a process that goes has left is of no use
	return strings.TrimSuffix(string(text), "\x00")
}

// values returns what a process was given for a flag: --flag=value or --flag value.
func (p process) values(flag string) (all []string) {
	for i, arg := range p.args {
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case name != flag || !strings.HasPrefix(arg, "-"):
		case joined:
			all = append(all, strings.Trim(value, `"`))
		case i+1 < len(p.args):
			all = append(all, p.args[i+1])
		}
	}
	return all
}

// kernelValue returns what a file of /proc/sys holds; empty if it cannot be read.
func kernelValue(path string) string {
	text, err := os.ReadFile(filepath.Join("/proc/sys", path)) //nolint:gosec // the kernel's
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// setKernelValue returns what writes a value there.
func setKernelValue(path, value string) func() error {
	return func() error { return os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644) }
}

// unitFiles are the files that the package's unit reads, the last one last.
func unitFiles() []string { return []string{"/etc/sysconfig/flanneld", "/etc/default/flanneld"} }

// StartedWith returns the arguments and the environment of a daemon: of its process or, if
// none runs, what the package's unit would start it with and what is in the environment.
// Hidden says why some of it cannot be seen from here; empty: all can.
func StartedWith(s status.Status, env flagtable.Env) (args, environ []string, hidden string) {
	pid := s.Process
	if s.PID != 0 && pid == 0 { // the number that it gives itself is another process's here
		return nil, nil, "flanneld runs in another PID namespace, where its flags cannot be seen: run flannelctl there"
	}
	if pid != 0 {
		f, err := os.Open(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil {
			_ = f.Close()
		} else {
			hidden = "it needs root: the daemon's flags may be in its environment"
		}
		args = strings.Split(procFile(pid, "cmdline"), "\x00")[1:]
		return args, strings.Split(procFile(pid, "environ"), "\x00"), hidden
	}
	all := make(flagtable.Env)
	for _, file := range unitFiles() {
		vars, _ := envfile.Read(file) // most hosts have one of them at most
		maps.Copy(all, vars)
	}
	maps.Copy(all, env)
	for name, value := range all {
		environ = append(environ, name+"="+value)
	}
	return strings.Fields(all["FLANNEL_OPTIONS"] + " " + all["DAEMON_ARGS"]), environ, ""
}
