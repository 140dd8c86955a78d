package iptables

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// longest is the longest time that a program may take; one may wait for lockTime.
const longest = 4 * lockTime

// Exec is a Runner for this host.
func Exec(ctx context.Context, stdin, program string, arg ...string) (string, error) {
	return Finish(ctx, stdin, func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, program, arg...) })
}

// Finish runs what command makes, in the way of a Runner.
func Finish(ctx context.Context, stdin string, command func(context.Context) *exec.Cmd) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := command(ctx)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if said := strings.Join(strings.Fields(stderr.String()), " "); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return stdout.String(), fmt.Errorf("run %s: %w", cmd.Args[0], err)
	}
	return stdout.String(), nil
}
