package tun

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// explain adds what to do about an error, if there is something, to one about an
// object: the path of the control file, or a device's name.
func explain(err error, object string) error {
	var hint string
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		hint = "load the tun module (modprobe tun); in a container, pass the file on: --device=" + object
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		hint = "run as root or with CAP_NET_ADMIN; in a container, --cap-add=NET_ADMIN --device=/dev/net/tun"
	case errors.Is(err, unix.EBUSY):
		hint = "another process has the device: end it, or ip link delete " + object
	case errors.Is(err, unix.EINVAL):
		hint = "a device of that name but another kind may exist: ip -d link show " + object + ", ip link delete " + object
	default:
		return err
	}
	return fmt.Errorf("%w (%s)", err, hint)
}
