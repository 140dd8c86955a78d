package tun

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Adopt makes a device of queues that an earlier process opened, one file
// descriptor each. The device must be one that Open could have made by the
// options. That it was made with IFF_NO_PI is not checked: TUNGETIFF reports
// that bit for "has no filter". On success the descriptors are the device's; on
// an error they stay the caller's.
func Adopt(fds []int, o Options) (*Device, error) {
	if len(fds) != max(o.Queues, 1) {
		return nil, fmt.Errorf("adopt device: there are %d file descriptors, want %d", len(fds), max(o.Queues, 1))
	}
	const kind = unix.IFF_TUN | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE
	d := &Device{name: o.Name}
	for _, fd := range fds {
		name, flags, err := identify(fd)
		if err != nil {
			return nil, fmt.Errorf("adopt device: %w", err)
		}
		if name != o.Name || flags&kind != o.flags()&kind {
			return nil, fmt.Errorf("adopt device %s: want %s, a TUN with other flags", name, o.Name)
		}
		d.queues = append(d.queues, &Queue{fd: fd})
	}
	for _, fd := range fds {
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("adopt device %s: %w", d.name, err)
		}
		unix.CloseOnExec(fd)
	}
	if err := d.setup(o); err != nil {
		return nil, fmt.Errorf("adopt device: %w", err)
	}
	return d, nil
}

// identify returns the name and the flags (IFF_*) of a queue's device, which must be in the
// network namespace that the queue was opened in.
func identify(fd int) (string, uint16, error) {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return "", 0, err
	}
	switch err := unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr); {
	case errors.Is(err, unix.EBADFD):
		return "", 0, fmt.Errorf("it was deleted: %w", err)
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return "", 0, fmt.Errorf("file descriptor %d is of something else: %w", fd, err)
	case err != nil:
		return "", 0, err
	}
	opened, here := namespace(fd, unix.SIOCGSKNS)
	now, there := namespace(fd, unix.TUNGETDEVNETNS)
	// Older kernels cannot tell. A namespace that may not be asked for is another one.
	if here == nil && (there == nil && now != opened || errors.Is(there, unix.EPERM)) {
		return "", 0, errors.New("it was moved to another network namespace")
	}
	return ifr.Name(), ifr.Uint16(), nil
}

// namespace returns the number of the network namespace that a request tells of a queue.
func namespace(fd int, request uint) (uint64, error) {
	ns, err := unix.IoctlRetInt(fd, request)
	if err != nil {
		return 0, err
	}
	defer unix.Close(ns)
	var stat unix.Stat_t
	err = unix.Fstat(ns, &stat)
	return stat.Ino, err
}
