package tun

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Error is an error with what to do about it.
type Error struct {
	Err  error
	Hint string
}

// Error returns both.
func (e *Error) Error() string { return fmt.Sprintf("%v (%s)", e.Err, e.Hint) }

// Unwrap returns the error without the hint.
func (e *Error) Unwrap() error { return e.Err }

// explain adds the hint, if there is one, to an error about an object: the path
// of the control file, or a device's name.
func explain(err error, object string) error {
	var hint string
	switch {
	case errors.Is(err, unix.ENOENT):
		hint = "load the tun module (modprobe tun); in a container, pass the file on: --device=" + object
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		hint = "the kernel has no TUN driver: modprobe tun"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		hint = "run as root or with CAP_NET_ADMIN; in a container, --cap-add=NET_ADMIN --device=/dev/net/tun"
	case errors.Is(err, unix.EBUSY):
		hint = "another process has the device: end it, or ip link delete " + object
	case errors.Is(err, unix.EINVAL):
		hint = "a device of that name but another kind may exist: ip -d link show " + object + ", ip link delete " + object
	default:
		return err
	}
	return &Error{Err: err, Hint: hint}
}
