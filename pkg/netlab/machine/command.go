package machine

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Command returns the command to run a program in the machine, not yet started. It
// runs as root in the machine's root directory, with nothing of this process's
// environment. It is killed when ctx is done, or the machine is.
func (m *Machine) Command(ctx context.Context, program string, arg ...string) *exec.Cmd {
	init := 0 // if the machine is off: nsenter says that there is no such process
	if m.on != nil {
		init = m.on.init
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(init),
		"--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--", program}, arg...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"}
	// nsenter waits for the program, so that a signal has to end both.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Run runs a program in the machine to its end. The error has what the program
// printed.
func (m *Machine) Run(ctx context.Context, program string, arg ...string) error {
	_, err := m.Output(ctx, program, arg...)
	return err
}

// Output runs a program in the machine and returns its standard output. The error
// has what the program printed on standard error, or else on standard output.
func (m *Machine) Output(ctx context.Context, program string, arg ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := m.Command(ctx, program, arg...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	said := strings.TrimSpace(stderr.String())
	if said == "" {
		said = strings.TrimSpace(stdout.String())
	}
	return stdout.String(), fmt.Errorf("%s# %s: %w: %s", m.Name(), strings.Join(append([]string{program}, arg...), " "), err, said)
}
