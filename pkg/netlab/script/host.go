package script

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab"
)

func hostCommands() map[string]Command {
	return map[string]Command{
		"host":      {"host <name> <address/length> [IPv6-address/length]", hostCommand},
		"environ":   {"environ <host> <name=value>", environCommand},
		"disk":      {"disk <host> <size>", diskCommand},
		"fill":      {"fill <host>", fillCommand},
		"empty":     {"empty <host>", emptyCommand},
		"subnet":    {"subnet <host>", subnetCommand},
		"container": {"container <host...>", containerCommand},
		"on":        {"on <host>[/web] <program> [argument...]", onCommand},
		"keep":      {"keep <host> <files>", keepCommand},
		"kept":      {"kept <host>", keptCommand},
		"reboot":    {"reboot <host>", rebootCommand},
	}
}

// hostCommand adds a host. Its files are in $WORK/<name>; the script may have some there.
func hostCommand(s *Script, args []string) (string, error) {
	name := args[0]
	n := s.Node(name, args[1])
	n.Dir = filepath.Join(s.Dir, name)
	s.nodes[name] = n
	s.Setenv(name+"_IP", n.Addr().Addr().String())
	s.Setenv(name+"_GATEWAY", n.Gateway().String())
	if len(args) > 2 {
		if err := n.AddIPv6(args[2]); err != nil {
			return "", errScript{err}
		}
	}
	return "", os.MkdirAll(n.Dir, 0o755)
}

// environCommand gives daemons that are started from now on a variable.
func environCommand(s *Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err == nil {
		n.Environ = append(n.Environ, args[1])
	}
	return "", err
}

// diskCommand gives each daemon that is started from now on a small disk for its state
// directory. The disk ends with the daemon.
func diskCommand(s *Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err == nil {
		n.disk = args[1]
	}
	return "", err
}

// filler returns the path of a file on the disk of diskCommand.
func filler(s *Script, name string) (string, error) {
	n, err := s.Running(name)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/root%s/state/filler", n.Daemon.Process.Pid, n.Dir), nil
}

// fillCommand fills that disk.
func fillCommand(s *Script, args []string) (string, error) {
	path, err := filler(s, args[0])
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path, make([]byte, 16<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		return "", Mistake("the disk is not full: %v", err)
	}
	return "", nil
}

// emptyCommand makes room on it again.
func emptyCommand(s *Script, args []string) (string, error) {
	path, err := filler(s, args[0])
	if err != nil {
		return "", err
	}
	return "", os.Remove(path)
}

// subnetCommand prints the host's subnet file and sets the host's variables from it:
// _BRIDGE and _BRIDGE6, the addresses and prefix lengths of Docker's bridge, _MTU, and
// those of Program.Variables.
func subnetCommand(s *Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err != nil {
		return "", err
	}
	before, err := os.ReadFile(n.SubnetFile())
	if err != nil {
		return "", err
	}
	if s.program.Variables != nil {
		for name, value := range s.program.Variables(n.SubnetFile()) {
			s.Setenv(n.Name()+"_"+name, value)
		}
	}
	s.Setenv(n.Name()+"_BRIDGE", n.Env("FLANNEL_SUBNET"))
	s.Setenv(n.Name()+"_BRIDGE6", n.Env("FLANNEL_IPV6_SUBNET"))
	s.Setenv(n.Name()+"_MTU", n.Env("FLANNEL_MTU"))
	out, err := os.ReadFile(n.SubnetFile())
	if err == nil && !bytes.Equal(before, out) {
		err = fmt.Errorf("%s was written just now", n.SubnetFile())
	}
	return string(out), err
}

// containerCommand adds a container behind each host, which serves a file.
func containerCommand(s *Script, args []string) (string, error) {
	www := filepath.Join(s.Dir, "www")
	if err := os.MkdirAll(www, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(www, "file"), make([]byte, fileSize), 0o644); err != nil {
		return "", err
	}
	for _, name := range args {
		n, err := s.Find(name)
		if err == nil {
			err = n.AddContainer()
		}
		if err != nil {
			return "", err
		}
		s.Setenv(name+"_WEB", n.web.Addr().Addr().String())
		if a := n.web.Addr6(); a.IsValid() {
			s.Setenv(name+"_WEB6", a.Addr().String())
		}
		n.server = s.Start(n.web.Namespace, nil, "busybox", "httpd", "-f", "-p", "80", "-h", www)
	}
	return "", nil
}

// onCommand runs a program on a host, or in its container: h1/web.
func onCommand(s *Script, args []string) (string, error) {
	name, web, _ := strings.Cut(args[0], "/")
	n, err := s.Find(name)
	if err != nil {
		return "", err
	}
	var ns netlab.Namespace
	switch {
	case web == "":
		ns = n.Namespace
	case web == "web" && n.web != nil:
		ns = n.web.Namespace
	default:
		return "", Mistake("there is no container %s", args[0])
	}
	return s.Output(ns.Command(s.ctx, args[1], args[2:]...))
}

// keepCommand makes the host's systemd keep a number of files over restarts of the
// daemon, as FileDescriptorStoreMax= does.
func keepCommand(s *Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err == nil {
		n.manager.Max, err = strconv.Atoi(args[1])
	}
	return "", err
}

// keptCommand prints the names of the files that it keeps.
func keptCommand(s *Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err != nil {
		return "", err
	}
	return strings.Join(n.manager.Names(), "\n") + "\n", nil
}

// rebootCommand kills the daemon, removes the container and the devices, and gives the
// next daemon another boot id. Files stay; a script removes those in /run.
func rebootCommand(s *Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err != nil {
		return "", err
	}
	for _, p := range []*Process{n.Daemon, n.server} {
		if p != nil {
			p.Kill()
		}
	}
	n.web, n.server = nil, nil
	n.boots++
	// The kernel releases a process's namespace a moment after the process's end.
	return "", Eventually(10*time.Second, func() error { return n.Reboot(s.program.Devices) })
}
