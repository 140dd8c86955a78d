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
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, arg...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if said := strings.Join(strings.Fields(stderr.String()), " "); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return stdout.String(), fmt.Errorf("run %s: %w", strings.Join(cmd.Args, " "), err)
	}
	return stdout.String(), nil
}
