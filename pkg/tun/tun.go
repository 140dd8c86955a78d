// Package tun opens layer-3 TUN devices of Linux and moves packets through
// them in batches: with the kernel's help, one read or write carries up to
// 64 KiB of one flow.
//
// It decides which of the kernel's offloads a device gets and says which those
// are. It does not know the packets, nor the devices' addresses and routes.
package tun

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// HeaderLen is the length in bytes of the struct virtio_net_hdr before each
// packet, if the device has [Features.Header].
const HeaderLen = 10

// Options are what a device should be like. The zero value is one queue with
// all offloads on a device named tun%d that goes when it is closed.
type Options struct {
	// Name is exact, or has one %d in it for the first number that is free, which
	// Adopt does not take. A persistent device of that name is attached to. Empty:
	// "tun%d".
	Name string
	// Queues is the number of queues; zero means one. Between more than one,
	// the kernel spreads flows by their hash. See Features.Steered.
	Queues int
	// Persist keeps the device, with its addresses and routes, when the last
	// queue is closed.
	Persist bool
	// NoHeader leaves the header out, and with it all offloads.
	NoHeader bool
	// NoUSO does without USO.
	NoUSO bool
}

// Features are what the kernel granted a device.
type Features struct {
	Header   bool // a struct virtio_net_hdr is before each packet
	Offloads Offload
	// Steered says that a flow is read from one queue only, as long as their
	// number stays. Where it is not so, with Linux before 4.16 or without
	// CAP_BPF, a flow moves to the queue through which it is answered.
	Steered bool
}

// Device is a TUN device, by one queue at least.
type Device struct {
	name     string
	features Features
	queues   []*Queue
}

// Open makes a device in the network namespace of the calling thread, or
// attaches to the persistent one of that name. It has no address, and is down
// if it is new. An error says what the operator can do about it.
func Open(o Options) (*Device, error) { return open("/dev/net/tun", o) }

func open(path string, o Options) (*Device, error) {
	d := &Device{name: o.Name}
	for range max(o.Queues, 1) {
		if err := d.attach(path, o); err != nil {
			_ = d.Close()
			return nil, err
		}
	}
	if err := d.setup(o); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// attach adds a queue. The first makes the device and so completes its name.
func (d *Device) attach(path string, o Options) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return explain(fmt.Errorf("open %s: %w", path, err), path)
	}
	d.queues = append(d.queues, &Queue{fd: fd})
	ifr, err := unix.NewIfreq(d.name)
	if err != nil {
		return fmt.Errorf("make device %q: name is too long", d.name)
	}
	ifr.SetUint16(o.flags())
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return explain(fmt.Errorf("make device %s: %w", d.name, err), d.name)
	}
	d.name = ifr.Name()
	return nil
}

// flags returns those (IFF_*) of a device.
func (o Options) flags() uint16 {
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if !o.NoHeader {
		flags |= unix.IFF_VNET_HDR
	}
	if o.Queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	return flags
}

// setup gives the device what is the same for all queues.
func (d *Device) setup(o Options) error {
	var want Offload // without a header there is no way to tell the reader what is left to do
	d.features.Header = !o.NoHeader
	if d.features.Header {
		want = Checksum | TSO | USO
		if o.NoUSO {
			want = Checksum | TSO
		}
		if err := unix.IoctlSetPointerInt(d.queues[0].fd, unix.TUNSETVNETHDRSZ, HeaderLen); err != nil {
			return fmt.Errorf("set length of header of %s: %w", d.name, err)
		}
	}
	var err error
	if d.features.Offloads, err = offload(d.queues[0].fd, want); err != nil {
		return fmt.Errorf("set offloads of %s: %w", d.name, err)
	}
	// Without it a few packets are out of order, and that is all.
	d.features.Steered = len(d.queues) > 1 && steer(d.queues[0].fd) == nil
	var persist int
	if o.Persist {
		persist = 1
	}
	if err := unix.IoctlSetInt(d.queues[0].fd, unix.TUNSETPERSIST, persist); err != nil {
		return fmt.Errorf("set %s persistent: %w", d.name, err)
	}
	return nil
}

// Name returns the device's name when it was opened.
func (d *Device) Name() string { return d.name }

// Is reports whether the device has the name now, in the network namespace that it was
// opened in. It has none when it was deleted or moved, even if there is another one of that
// name.
func (d *Device) Is(name string) bool {
	now, _, err := identify(d.queues[0].fd)
	return err == nil && now == name
}

// Features returns what the kernel granted.
func (d *Device) Features() Features { return d.features }

// Queues returns the device's queues, each of which can be used by one
// goroutine at a time for each direction.
func (d *Device) Queues() []*Queue { return d.queues }

// Close closes all queues. Nobody may use them any more.
func (d *Device) Close() error {
	var errs []error
	for _, q := range d.queues {
		errs = append(errs, unix.Close(q.fd))
	}
	d.queues = nil
	return errors.Join(errs...)
}
