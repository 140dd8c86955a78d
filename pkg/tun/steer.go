package tun

import (
	"fmt"

	"golang.org/x/sys/unix"
)

//go:generate go run ../bpf/bpfgen steer.c

// steer makes the kernel choose the queue by what is the same in all packets of a flow
// (since Linux 4.16). By default it moves a flow to the queue of the last answer
// (tun_flow_update), and so the flow overtakes its packets in the other queue.
func steer(fd int) error {
	program, err := steerProgram().Load()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(program) }()
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETSTEERINGEBPF, program); err != nil {
		return fmt.Errorf("attach program: %w", err)
	}
	return nil
}
