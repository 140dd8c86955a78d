package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// running is a machine that is on.
type running struct {
	process *os.Process // systemd-nspawn, or the unshare that runs a service
	init    int         // the machine's first process, as numbered here
	groups  cgroups
	done    chan struct{} // closed when the process has ended
}

// mountAndRun enters control groups, mounts the disk in a namespace of its own, and
// becomes the program.
const mountAndRun = `
for group in $1; do echo $$ >"$group/cgroup.procs"; done
mount -t overlay overlay -o "lowerdir=$2,upperdir=$3,workdir=$4" "$5"
shift 5
exec "$@"`

// start switches a machine on.
func start(ctx context.Context, m *Machine) (*running, error) {
	console, err := os.OpenFile(m.Console(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	// The namespace's name is unique on this machine.
	groups, err := makeCgroups(m.Host.Namespace.Namespace())
	if err != nil {
		return nil, err
	}
	in := func(name string) string { return filepath.Join(m.dir, name) }
	cmd := exec.Command("unshare", "--mount", "--propagation", "slave", "sh", "-euc", mountAndRun, "sh", strings.Join(groups, " "),
		m.root, in("disk"), in("work"), in("root"),
		"systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--directory="+in("root"), "--machine="+m.Name(),
		"--network-namespace-path=/run/netns/"+m.Host.Namespace.Namespace(),
		"--capability=all", "--system-call-filter=add_key keyctl bpf", "--bind=/dev/net/tun",
		// Docker's overlay file systems cannot lie on another.
		"--bind="+in("docker")+":/var/lib/docker",
		"--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe", "--boot")
	cmd.Stdout, cmd.Stderr = console, console
	// Docker writes to /proc/sys.
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_API_VFS_WRITABLE=1")
	switch _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); {
	case m.Unified:
		cmd.Env = append(cmd.Env, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	case err != nil:
		cmd.Env = append(cmd.Env, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0")
	}
	r := &running{done: make(chan struct{}), groups: groups}
	if err := r.run(cmd); err != nil {
		return nil, errors.Join(err, groups.remove())
	}
	if err := r.await(ctx); err != nil {
		return nil, errors.Join(err, r.kill())
	}
	return r, nil
}

// run starts the command. It is killed when this process ends, whatever the reason.
func (r *running) run(cmd *exec.Cmd) error {
	// A group of its own: an interrupt from the terminal is not for the machine.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		defer close(r.done)
		// The signal comes when the thread ends that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		r.process = cmd.Process
		started <- err
		if err == nil {
			_ = cmd.Wait() // the caller ended it, or the console says why it ended
		}
	}()
	return <-started
}

// await waits until the machine's first process takes orders.
func (r *running) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		if r.init == 0 {
			r.init = r.child()
		}
		if r.init != 0 {
			// The directory of the socket over which systemctl talks to it.
			if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/run/systemd/private", r.init)); err == nil {
				return nil
			}
		}
		select {
		case <-r.done:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("its first process does not answer: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

// child returns the machine's first process, once it is in its namespaces; zero if
// there is none yet.
func (r *running) child() int {
	pid := r.process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0
	}
	for _, field := range strings.Fields(string(children)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			continue
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", child))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if inner, ok := strings.CutPrefix(line, "NSpid:"); ok {
				if all := strings.Fields(inner); len(all) > 1 && all[len(all)-1] == "1" {
					return child
				}
			}
		}
	}
	return 0
}

// kill ends the machine's first process. The kernel then ends all others.
func (r *running) kill() error {
	if r.init != 0 {
		_ = syscall.Kill(r.init, syscall.SIGKILL) // it fails if it has ended
	} else {
		_ = r.process.Kill()
	}
	return r.ended()
}

// ended waits until the machine has ended, and removes its control groups.
func (r *running) ended() error {
	<-r.done
	return r.groups.remove()
}
