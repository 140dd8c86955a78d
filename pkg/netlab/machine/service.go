package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"flanneld/pkg/netlab"
)

// Service is one program of a root that runs on a host without booting a machine. It
// has the host's network, and process numbers, control groups and file systems of its
// own, so that all that it starts ends with it.
type Service struct {
	run *running
	log string
}

// Shared is the path, in the root, of the directory that a service shares with its
// caller. The rest of the root is read-only or in memory.
const Shared = "/mnt/shared"

// enterAndRun makes the root usable and runs the program as its child: a first process
// has to wait for orphans, and the program does not.
const enterAndRun = `
root=$1 dir=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sys "$root/sys"
mount --rbind /dev "$root/dev"
for memory in run tmp mnt; do mount -t tmpfs "$memory" "$root/$memory"; done
mkdir "$root/mnt/shared"
mount --bind "$dir" "$root/mnt/shared"
touch /run/xtables.lock "$root/run/xtables.lock"
mount --bind /run/xtables.lock "$root/run/xtables.lock"
cg=$root/sys/fs/cgroup
controllers=$(awk '!/^#/ && $2 > 0 && $4 == 1 { print $1 }' /proc/cgroups)
if [ -n "$controllers" ]; then
	mount -t tmpfs cgroup "$cg"
	for c in $controllers; do
		mkdir "$cg/$c"
		mount -t cgroup -o "$c" cgroup "$cg/$c"
	done
else
	# A group with processes has no controllers for groups below it (version 2).
	mount -t cgroup2 cgroup2 "$cg"
	mkdir "$cg/service"
	echo 0 >"$cg/service/cgroup.procs"
	sed 's/[a-z]*/+&/g' "$cg/cgroup.controllers" >"$cg/cgroup.subtree_control"
fi
chroot "$root" "$@" &
program=$!
trap 'kill $program' TERM
wait $program || status=$?
# A signal ends the wait, and not the program.
if kill -0 $program 2>/dev/null; then wait $program || status=$?; fi
exit ${status-0}`

// Start runs a program of a root on the host. The program finds the caller's directory
// as Shared, may itself be in it, and its output goes there, into a file named after it.
// It is killed when this process ends.
func Start(host *netlab.Host, root, dir, program string, arg ...string) (*Service, error) {
	s := &Service{log: filepath.Join(dir, filepath.Base(program)+".log")}
	output, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	defer output.Close()
	groups, err := makeCgroups(host.Namespace.Namespace() + "-" + filepath.Base(program))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	// It enters the groups before ip(8) mounts another /sys.
	const enter = `for group in $1; do echo $$ >"$group/cgroup.procs"; done; shift; exec "$@"`
	inside := host.Command(context.Background(), "unshare", append([]string{"--mount", "--pid", "--cgroup", "--fork", "--kill-child", "--",
		"sh", "-euc", enterAndRun, "sh", root, dir, program}, arg...)...)
	cmd := exec.Command("sh", append([]string{"-euc", enter, "sh", strings.Join(groups, " ")}, inside.Args...)...)
	cmd.Stdout, cmd.Stderr = output, output
	s.run = &running{done: make(chan struct{}), groups: groups}
	if err := s.run.run(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, errors.Join(err, groups.remove()))
	}
	end := time.Now().Add(startTime)
	for s.run.init = s.run.child(); s.run.init == 0; s.run.init = s.run.child() {
		select {
		case <-s.run.done:
		case <-time.After(poll):
		}
		if s.ended() || time.Now().After(end) {
			return nil, fmt.Errorf("start %s: it is not running: %w", program, errors.Join(s.Kill(), errors.New(string(s.tail()))))
		}
	}
	return s, nil
}

func (s *Service) ended() bool {
	select {
	case <-s.run.done:
		return true
	default:
		return false
	}
}

func (s *Service) tail() []byte {
	text, _ := os.ReadFile(s.log)
	return tail(text, 2000)
}

// Log returns what the program has printed.
func (s *Service) Log() string {
	text, _ := os.ReadFile(s.log)
	return string(bytes.TrimSpace(text))
}

// Stop ends the program as a service manager does, and returns when all of its
// processes have ended.
func (s *Service) Stop(ctx context.Context) error {
	_ = syscall.Kill(s.run.init, syscall.SIGTERM) // it fails if it has ended
	select {
	case <-s.run.done:
		return s.run.ended()
	case <-ctx.Done():
		return fmt.Errorf("stop service: %w", errors.Join(ctx.Err(), s.Kill()))
	}
}

// Kill ends all of its processes at once. It does nothing to a service that has ended.
func (s *Service) Kill() error {
	if s.ended() {
		return s.run.ended()
	}
	return s.run.kill()
}

// CanStart returns nil if this process can run services, and otherwise an error
// saying what is missing, fit as a reason to skip a test.
func CanStart() error {
	if err := netlab.Supported(); err != nil {
		return err
	}
	for _, program := range []string{"mmdebstrap", "unshare", "chroot"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed (Debian: mmdebstrap util-linux)", program)
		}
	}
	return nil
}
