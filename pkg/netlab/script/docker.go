package script

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	debian "flanneld/pkg/netlab/machine"
)

func dockerCommands() map[string]Command {
	return map[string]Command{
		"given-dockerd": {"given-dockerd", giveDockerdCommand},
		"dockerd":       {"dockerd <host> [flag...]", dockerdCommand},
		"docker":        {"docker <host> <command> [argument...]", dockerCommand},
		"stop-docker":   {"stop-docker <host>", stopDockerCommand},
	}
}

// dockerTime bounds Docker's start and its end, for which it gives containers 10 s.
const dockerTime = time.Minute

// dockerdVariable is the environment variable with the path of a static dockerd of
// release 29 or later.
const dockerdVariable = "FLANNELD_TEST_DOCKERD"

// giveDockerdCommand makes the script use the dockerd that the variable names, and skips the
// script if none is named.
func giveDockerdCommand(s *Script, args []string) (string, error) {
	if len(args) > 0 {
		return "", Mistake("given-dockerd has no arguments")
	}
	s.givenDockerd = os.Getenv(dockerdVariable)
	if s.givenDockerd == "" {
		s.t.Skip(dockerdVariable + " does not name a dockerd 29 (docs/testing.md says how to build one)")
	}
	return s.Output(exec.CommandContext(s.ctx, s.givenDockerd, "--version"))
}

// dockerdRoot returns the root for dockerd, and dockerd's path in it. It puts a given
// dockerd into the directory that the two will share.
func dockerdRoot(s *Script, shared string) (root, program string, err error) {
	if s.givenDockerd == "" {
		root, err = debian.Docker28().Build(s.ctx, debian.CacheDir())
		return root, "dockerd", err
	}
	if root, err = debian.Docker29().Build(s.ctx, debian.CacheDir()); err != nil {
		return "", "", err
	}
	_, err = s.Output(exec.CommandContext(s.ctx, "cp", "--update", s.givenDockerd, filepath.Join(shared, "dockerd")))
	return root, filepath.Join(debian.Shared, "dockerd"), err
}

// dockerdCommand starts Docker 28 or later on a host, with the images and containers
// of the last one there, and makes an image "box", which is busybox. It skips the script
// if Debian's archive cannot be reached.
func dockerdCommand(s *Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err != nil {
		return "", err
	}
	if err := debian.CanStart(); err != nil {
		s.t.Skip(err)
	}
	if _, err := exec.LookPath("docker"); err != nil {
		s.t.Skip("docker is not installed (Debian: docker.io)")
	}
	n.dockerDir = filepath.Join(n.Dir, "docker")
	if err := os.MkdirAll(n.dockerDir, 0o755); err != nil {
		return "", err
	}
	root, program, err := dockerdRoot(s, n.dockerDir)
	if errors.Is(err, debian.ErrUnreachable) {
		s.t.Skip(err)
	}
	if err != nil {
		return "", errScript{err}
	}
	in := func(name string) string { return filepath.Join(debian.Shared, name) }
	service, err := debian.Start(n.Host, root, n.dockerDir, program, append([]string{
		"--data-root=" + in("data"), "--exec-root=" + in("exec"), "--pidfile=" + in("pid"), "--host=unix://" + in("socket"),
		"--storage-driver=vfs"}, args[1:]...)...)
	if err != nil {
		return "", errScript{err}
	}
	n.dockerd = service
	s.Cluster.t.Cleanup(func() {
		if err := service.Kill(); err != nil {
			s.Cluster.t.Error(err)
		}
		if s.Cluster.t.Failed() {
			s.Cluster.t.Logf("log of dockerd on %s:\n%s", n.Name(), service.Log())
		}
	})
	if err := Eventually(dockerTime, func() error {
		_, err := dockerCommand(s, []string{n.Name(), "version"})
		return err
	}); err != nil {
		return service.Log(), err
	}
	return boxImage(s, n)
}

// boxImage makes the image "box", unless Docker has it.
func boxImage(s *Script, n *Node) (string, error) {
	if _, err := dockerCommand(s, []string{n.Name(), "image", "inspect", "box"}); err == nil {
		return "", nil
	}
	const pack = `mkdir -p $0/bin && cp $(command -v busybox) $0/bin/ &&
for name in sh httpd ping sleep wget; do ln -sf busybox $0/bin/$name; done
tar -C $0 -c . | docker -H $1 import - box`
	return s.Output(exec.CommandContext(s.ctx, "sh", "-ec", pack, filepath.Join(n.Dir, "box"), n.dockerHost()))
}

func (n *Node) dockerHost() string { return "unix://" + filepath.Join(n.dockerDir, "socket") }

// dockerCommand runs Docker's client, and sets <host>_<container> to the address of a
// container that has a name, and <host>_<container>6 to its IPv6 address.
func dockerCommand(s *Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err != nil {
		return "", err
	}
	if n.dockerd == nil {
		return "", Mistake("dockerd was never started on %s", n.Name())
	}
	client := func(arg ...string) (string, error) {
		return s.Output(exec.CommandContext(s.ctx, "docker", append([]string{"-H", n.dockerHost()}, arg...)...))
	}
	out, err := client(args[1:]...)
	if err != nil || args[1] != "run" && args[1] != "start" {
		return out, err
	}
	names, err := client("ps", "--format", "{{.Names}}")
	for _, name := range strings.Fields(names) {
		addresses, err := client("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}", name)
		if err != nil {
			return out, err
		}
		v4, v6, _ := strings.Cut(strings.TrimSpace(addresses), " ")
		s.Setenv(n.Name()+"_"+name, v4)
		s.Setenv(n.Name()+"_"+name+"6", v6)
	}
	return out, err
}

// stopDockerCommand ends Docker and its containers as systemd does.
func stopDockerCommand(s *Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err != nil {
		return "", err
	}
	if n.dockerd == nil {
		return "", Mistake("dockerd was never started on %s", n.Name())
	}
	ctx, cancel := context.WithTimeout(s.ctx, dockerTime)
	defer cancel()
	if err := n.dockerd.Stop(ctx); err != nil {
		return "", fmt.Errorf("%w:\n%s", err, n.dockerd.Log())
	}
	return n.dockerd.Log(), nil
}
