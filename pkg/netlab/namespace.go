package netlab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

// Namespace is a network namespace that has a name in /run/netns.
type Namespace struct{ name string }

// Namespace returns its name, as in `ip -n NAME link`.
func (n Namespace) Namespace() string { return n.name }

// Command returns the command to run a program in the namespace, not yet
// started. The started process is the program itself (ip replaces itself by
// it), so that its Process can be signalled. It sees a /sys of its own and
// otherwise the caller's file system. It is killed when ctx is done.
func (n Namespace) Command(ctx context.Context, program string, arg ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.name, program}, arg...)...)
}

// Run runs a program in the namespace to its end. The error has what the
// program printed.
func (n Namespace) Run(program string, arg ...string) error {
	return run("ip", append([]string{"netns", "exec", n.name, program}, arg...)...)
}

// Output runs a program in the namespace and returns its standard output. The
// error has what the program printed on standard error.
func (n Namespace) Output(program string, arg ...string) (string, error) {
	return output("ip", append([]string{"netns", "exec", n.name, program}, arg...)...)
}

// ip runs the ip command on the namespace.
func (n Namespace) ip(arg ...string) error {
	return run("ip", append([]string{"-n", n.name}, arg...)...)
}

// ipAll runs ip commands on the namespace up to the first that fails.
func (n Namespace) ipAll(commands ...[]string) error {
	for _, c := range commands {
		if err := n.ip(c...); err != nil {
			return err
		}
	}
	return nil
}

// deleteNamespace deletes the namespace's name. It returns an error if processes
// still run in the namespace.
func deleteNamespace(name string) error {
	pids, err := output("ip", "netns", "pids", name)
	if err != nil {
		return err
	}
	if err := run("ip", "netns", "delete", name); err != nil {
		return err
	}
	if pids := strings.Fields(pids); len(pids) > 0 {
		return fmt.Errorf("delete namespace %s: processes %s still run in it", name, strings.Join(pids, ", "))
	}
	return nil
}

func run(program string, arg ...string) error {
	_, err := output(program, arg...)
	return err
}

func output(program string, arg ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(program, arg...)
	// An interrupt from the terminal goes to the whole foreground group; it
	// must not stop the clean-up that the caller does because of it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	said := strings.TrimSpace(stderr.String())
	if said == "" {
		said = strings.TrimSpace(stdout.String())
	}
	return stdout.String(), fmt.Errorf("run %s: %w: %s", strings.Join(cmd.Args, " "), err, said)
}
