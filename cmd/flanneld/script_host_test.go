package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/cmd/internal/host"
	"flanneld/pkg/netlab"
)

func hostCommands() map[string]command {
	return map[string]command{
		"host":      {"host <name> <address/length> [IPv6-address/length]", (*script).host},
		"ttl":       {"ttl <host> <time>", (*script).ttl},
		"machine":   {"machine <host> <id>", (*script).machine},
		"disk":      {"disk <host> <size>", (*script).disk},
		"fill":      {"fill <host>", (*script).fill},
		"empty":     {"empty <host>", (*script).empty},
		"start":     {"start <host> [flag...]", (*script).launchCommand},
		"ready":     {"ready <host>", (*script).readyCommand},
		"up":        {"up <host> [flag...]", (*script).upCommand},
		"took":      {"took <host> <time>", (*script).took},
		"subnet":    {"subnet <host>", (*script).subnet},
		"container": {"container <host...>", (*script).containerCommand},
		"on":        {"on <host>[/web] <program> [argument...]", (*script).on},
		"log":       {"log <host>", (*script).logCommand},
		"keep":      {"keep <host> <files>", (*script).keep},
		"kept":      {"kept <host>", (*script).kept},
		"notified":  {"notified <host>", (*script).notified},
		"signal":    {"signal <host> <signal>", (*script).signal},
		"exits":     {"exits <host> <status>", (*script).exits},
		"crash":     {"crash <host...>", (*script).crash},
		"term":      {"term <host...>", (*script).term},
		"reboot":    {"reboot <host>", (*script).reboot},
	}
}

func (s *script) find(name string) (*node, error) {
	if n := s.nodes[name]; n != nil {
		return n, nil
	}
	return nil, mistake("there is no host %q", name)
}

// running is find for what needs a daemon.
func (s *script) running(name string) (*node, error) {
	n, err := s.find(name)
	if err == nil && n.daemon == nil {
		err = mistake("flanneld was never started on %s", name)
	}
	return n, err
}

// host adds a host. Its files are in $WORK/<name>, where the script may have put
// some.
func (s *script) host(args []string) (string, error) {
	name := args[0]
	n := s.node(name, args[1])
	n.dir = filepath.Join(s.dir, name)
	s.nodes[name] = n
	s.Setenv(name+"_IP", n.Addr().Addr().String())
	s.Setenv(name+"_GATEWAY", n.Gateway().String())
	if len(args) > 2 {
		if err := n.AddIPv6(args[2]); err != nil {
			return "", errScript{err}
		}
	}
	return "", os.MkdirAll(n.dir, 0o755)
}

// ttl gives the leases of daemons that are started from now on another life.
func (s *script) ttl(args []string) (string, error) {
	n, err := s.find(args[0])
	if err == nil {
		n.environ = append(n.environ, asDaemonTTL+"="+args[1])
	}
	return "", err
}

// machine gives the host a machine-id(5) of its own.
func (s *script) machine(args []string) (string, error) {
	n, err := s.find(args[0])
	if err != nil {
		return "", err
	}
	file := filepath.Join(n.dir, "machine-id")
	n.environ = append(n.environ, asDaemonOn+"="+file)
	return "", os.WriteFile(file, []byte(args[1]+"\n"), 0o644)
}

// disk gives daemons that are started from now on a small disk of their own for the
// state directory, which ends with them.
func (s *script) disk(args []string) (string, error) {
	n, err := s.find(args[0])
	if err == nil {
		n.disk = args[1]
	}
	return "", err
}

// filler is a file on the daemon's own disk.
func (s *script) filler(name string) (string, error) {
	n, err := s.running(name)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/root%s/state/filler", n.daemon.Process.Pid, n.dir), nil
}

// fill leaves no room on that disk.
func (s *script) fill(args []string) (string, error) {
	path, err := s.filler(args[0])
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path, make([]byte, 16<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		return "", mistake("the disk is not full: %v", err)
	}
	return "", nil
}

// empty makes room again.
func (s *script) empty(args []string) (string, error) {
	path, err := s.filler(args[0])
	if err != nil {
		return "", err
	}
	return "", os.Remove(path)
}

// launchCommand starts flanneld and does not wait.
func (s *script) launchCommand(args []string) (string, error) {
	n, err := s.find(args[0])
	if err == nil {
		n.launch(args[1:]...)
	}
	return "", err
}

// readyCommand waits until flanneld is ready, and sets the host's variables.
func (s *script) readyCommand(args []string) (string, error) {
	n, err := s.running(args[0])
	if err == nil {
		err = n.ready(readyTime)
	}
	if err != nil {
		return "", err
	}
	return s.subnet(args)
}

// took prints how long the host took from its daemon's start to READY=1, and fails
// if that was longer than the time.
func (s *script) took(args []string) (string, error) {
	n, err := s.running(args[0])
	if err != nil {
		return "", err
	}
	limit, err := time.ParseDuration(args[1])
	if err != nil {
		return "", errScript{err}
	}
	took := n.said.took.Load()
	if took == nil {
		return "", mistake("%s is not ready", args[0])
	}
	if *took > limit {
		return "", mistake("%s took %s to be ready, more than %s", args[0], took, limit)
	}
	return fmt.Sprintf("%s was ready after %s\n", args[0], took.Round(time.Millisecond)), nil
}

func (s *script) upCommand(args []string) (string, error) {
	if _, err := s.launchCommand(args); err != nil {
		return "", err
	}
	return s.readyCommand(args[:1])
}

// subnet prints the host's subnet file and sets the host's variables to what it
// says: _NET and _NET6, the subnets; _BRIDGE and _BRIDGE6, their first addresses and
// lengths; _KEY, the lease's in etcd; _MTU.
func (s *script) subnet(args []string) (string, error) {
	n, err := s.find(args[0])
	if err != nil {
		return "", err
	}
	before, err := os.ReadFile(n.subnetFile())
	if err != nil {
		return "", err
	}
	vars := host.ReadSubnetEnv(n.subnetFile(), discard)
	s.Setenv(n.Name()+"_NET", vars.Subnet.String())
	s.Setenv(n.Name()+"_NET6", vars.SubnetV6.String())
	s.Setenv(n.Name()+"_KEY", strings.NewReplacer("/", "-", " ", "&").Replace(vars.Key().String()))
	s.Setenv(n.Name()+"_BRIDGE", n.env("FLANNEL_SUBNET"))
	s.Setenv(n.Name()+"_BRIDGE6", n.env("FLANNEL_IPV6_SUBNET"))
	s.Setenv(n.Name()+"_MTU", n.env("FLANNEL_MTU"))
	out, err := os.ReadFile(n.subnetFile())
	if err == nil && !bytes.Equal(before, out) {
		err = fmt.Errorf("%s was written just now", n.subnetFile())
	}
	return string(out), err
}

// containerCommand adds a container behind each host, which serves a file.
func (s *script) containerCommand(args []string) (string, error) {
	www := filepath.Join(s.dir, "www")
	if err := os.MkdirAll(www, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(www, "file"), make([]byte, fileSize), 0o644); err != nil {
		return "", err
	}
	for _, name := range args {
		n, err := s.find(name)
		if err == nil {
			err = n.run()
		}
		if err != nil {
			return "", err
		}
		s.Setenv(name+"_WEB", n.container.Addr().Addr().String())
		if a := n.container.Addr6(); a.IsValid() {
			s.Setenv(name+"_WEB6", a.Addr().String())
		}
		n.web = s.start(n.container.Namespace, nil, "busybox", "httpd", "-f", "-p", "80", "-h", www)
	}
	return "", nil
}

// on runs a program on a host, or in its container: h1/web.
func (s *script) on(args []string) (string, error) {
	name, web, _ := strings.Cut(args[0], "/")
	n, err := s.find(name)
	if err != nil {
		return "", err
	}
	var ns netlab.Namespace
	switch {
	case web == "":
		ns = n.Namespace
	case web == "web" && n.container != nil:
		ns = n.container.Namespace
	default:
		return "", mistake("there is no container %s", args[0])
	}
	return s.output(ns.Command(s.ctx, args[1], args[2:]...))
}

// logCommand prints what the daemon that was started last has logged.
func (s *script) logCommand(args []string) (string, error) {
	n, err := s.running(args[0])
	if err != nil {
		return "", err
	}
	return n.daemon.log.String(), nil
}

// notified prints what that daemon told systemd.
func (s *script) notified(args []string) (string, error) {
	n, err := s.running(args[0])
	if err != nil {
		return "", err
	}
	return n.said.log.String(), nil
}

// keep makes the host's systemd keep so many files over restarts of flanneld, as
// FileDescriptorStoreMax= does.
func (s *script) keep(args []string) (string, error) {
	n, err := s.find(args[0])
	if err == nil {
		n.manager.Max, err = strconv.Atoi(args[1])
	}
	return "", err
}

// kept prints the names of what it keeps.
func (s *script) kept(args []string) (string, error) {
	n, err := s.find(args[0])
	if err != nil {
		return "", err
	}
	return strings.Join(n.manager.Names(), "\n") + "\n", nil
}

func (s *script) signal(args []string) (string, error) {
	n, err := s.running(args[0])
	if err != nil {
		return "", err
	}
	number := unix.SignalNum("SIG" + args[1])
	if number == 0 {
		return "", mistake("there is no signal %s", args[1])
	}
	return "", n.daemon.Process.Signal(number)
}

// exits waits for flanneld to end by itself with a status, or by a signal: -1.
func (s *script) exits(args []string) (string, error) {
	n, err := s.running(args[0])
	if err != nil {
		return "", err
	}
	got, err := n.daemon.exited(readyTime)
	if err != nil {
		return "", err
	}
	if want, err := strconv.Atoi(args[1]); err != nil || got != want {
		return "", mistake("flanneld on %s exited with %d, want %s", n.Name(), got, args[1])
	}
	return n.daemon.log.String(), nil
}

// crash is kill -9.
func (s *script) crash(args []string) (string, error) {
	for _, name := range args {
		n, err := s.running(name)
		if err != nil {
			return "", err
		}
		n.daemon.kill()
	}
	return "", nil
}

// term ends daemons as systemd does, in order.
func (s *script) term(args []string) (string, error) {
	for _, name := range args {
		if _, err := s.signal([]string{name, "TERM"}); err != nil {
			return "", err
		}
	}
	for _, name := range args {
		if _, err := s.exits([]string{name, strconv.Itoa(exitStopped)}); err != nil {
			return "", err
		}
	}
	return "", nil
}

// reboot kills the daemon and the container and takes away the devices, and the
// next daemon finds another boot id. Files stay; a script removes those that are in
// /run.
func (s *script) reboot(args []string) (string, error) {
	n, err := s.find(args[0])
	if err != nil {
		return "", err
	}
	for _, p := range []*process{n.daemon, n.web} {
		if p != nil {
			p.kill()
		}
	}
	n.container, n.web = nil, nil
	n.boots++
	// The kernel lets go of a process's namespace a moment after its end.
	return "", eventually(10*time.Second, func() error { return n.Reboot("flannel*") })
}

var discard = slog.New(slog.DiscardHandler)
