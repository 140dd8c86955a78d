package udp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"flanneld/backend"
	"flanneld/backend/udp/engine"
	"flanneld/pkg/datapath"
	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

// The names of what is kept over a restart.
const (
	keptDevice  = "tun" // the device's queues
	keptSockets = "udp"
)

// system implements machine on this host.
type system struct {
	*engine.Engine
	tunOpts tun.Options
	udpOpts udpbatch.Options
	device  []int // queues of the device that an earlier run kept
	kept    backend.Descriptors
	granted udpbatch.Features // to each socket
	kernel  string            // whether packets go through the kernel, for the log
	log     *slog.Logger

	mu      sync.Mutex
	sockets []*udpbatch.Conn // one for each queue
}

// open opens a socket per queue, or takes those of an earlier run.
func open(p backend.Params, o Options) (*system, error) {
	without := func(what string) bool { return slices.Contains(p.Without, what) }
	queues := engine.Queues(runtime.GOMAXPROCS(0))
	if without("multiqueue") {
		queues = 1
	}
	m := &system{
		tunOpts: tun.Options{Queues: queues, Persist: true, NoHeader: without("vnet"), NoUSO: without("uso")},
		udpOpts: udpbatch.Options{ReusePort: queues > 1, NoSegment: without("gso"), NoGRO: without("gro")},
		kept:    p.Descriptors,
		log:     p.Log,
	}
	var sockets []int
	if before, ok := p.Before.(*Backend); ok {
		sockets = before.share()
	} else {
		m.device, sockets = m.kept.Take(keptDevice), m.kept.Take(keptSockets)
	}
	local := netip.AddrPortFrom(p.Underlay.V4, o.Port)
	if !m.adoptSockets(sockets, local) {
		for range queues {
			c, err := udpbatch.Listen(local, m.udpOpts)
			if err != nil {
				m.close()
				return nil, err
			}
			m.sockets = append(m.sockets, c)
		}
		m.put(keptSockets, fds(m.sockets))
	}
	m.granted = m.sockets[0].Features()
	var err error
	m.Engine, err = engine.New(engine.Config{Sockets: m.sockets, NoPriority: without("priority"), Log: m.log})
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// adoptSockets takes the kept sockets if they are what would be opened now. Otherwise
// they would be in the way, and are closed here and in the service manager.
func (m *system) adoptSockets(kept []int, local netip.AddrPort) bool {
	if len(kept) == 0 {
		return false
	}
	var wrong error
	for _, fd := range kept {
		c, err := udpbatch.Adopt(fd, m.udpOpts)
		if err != nil {
			_ = unix.Close(fd)
			wrong = err
			continue
		}
		m.sockets = append(m.sockets, c)
		shared, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
		if c.LocalAddr() != local || (shared != 0) != m.udpOpts.ReusePort {
			wrong = fmt.Errorf("they are bound to %s, want %s", c.LocalAddr(), local)
		}
	}
	if len(kept) != m.tunOpts.Queues {
		wrong = fmt.Errorf("there are %d, want %d", len(kept), m.tunOpts.Queues)
	}
	if wrong == nil {
		m.log.Info("Sockets of the last run are in use again", "address", local)
		return true
	}
	m.log.Info("Sockets of the last run do not fit; opening others", "err", wrong)
	m.closeSockets()
	m.remove(keptSockets)
	return false
}

func (m *system) tun() datapath.TUN {
	return datapath.TUN{VnetHdr: !m.tunOpts.NoHeader, MultiQueue: m.tunOpts.Queues > 1}
}

// attach implements machine.
func (m *system) attach(device string) error {
	if m.On(device) {
		return nil
	}
	m.tunOpts.Name = device
	d := m.adoptDevice()
	if d == nil {
		// The kept queues belong to a device that is gone, or do not fit.
		m.remove(keptDevice)
		var err error
		if d, err = tun.Open(m.tunOpts); err != nil {
			return err
		}
		m.put(keptDevice, fds(d.Queues()))
	}
	if err := m.Attach(d); err != nil {
		_ = d.Close()
		return err
	}
	m.log.Info("Forwarding between "+device+" and UDP", "queues", len(d.Queues()), "vnet_hdr", d.Features().Header,
		"offloads", d.Features().Offloads, "gso", m.granted.Segment, "gro", m.granted.GRO,
		"receive_buffer", m.granted.ReceiveBuffer, "kernel", m.kernel)
	if m.tunOpts.Queues > 1 && !d.Features().Steered {
		m.log.Info("The kernel cannot keep a flow on one queue: some packets may arrive out of order",
			"hint", "Linux 4.16 and CAP_BPF can, or --udp-offload=multiqueue")
	}
	return nil
}

// adoptDevice takes the queues of an earlier run if they are what would be opened now. Otherwise it closes them and returns nil.
func (m *system) adoptDevice() *tun.Device {
	kept := m.device
	m.device = nil
	if len(kept) == 0 {
		return nil
	}
	d, err := tun.Adopt(kept, m.tunOpts)
	if err == nil {
		m.log.Info("The device's queues of the last run are in use again", "device", m.tunOpts.Name)
		return d
	}
	m.log.Info("Queues of the last run do not fit; opening others", "err", err)
	closeAll(kept)
	return nil
}

// put keeps files. A failure costs some packets at the next restart, no more.
func (m *system) put(name string, fds []int) {
	if err := m.kept.Put(name, fds...); err != nil {
		m.log.Warn("A restart will lose packets", "err", err)
	}
}

func (m *system) remove(name string) {
	if err := m.kept.Remove(name); err != nil {
		m.log.Warn("The service manager still has files of the last run", "err", err)
	}
}

// share implements machine.
func (m *system) share() (copies []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, fd := range fds(m.sockets) {
		c, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil { // or there are too few, of which none is taken
			copies = append(copies, c)
		}
	}
	return copies
}

// close implements machine.
func (m *system) close() {
	if m.Engine != nil {
		m.Engine.Close()
	}
	closeAll(m.device)
	m.device = nil
	m.closeSockets()
}

func (m *system) closeSockets() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.sockets {
		_ = c.Close()
	}
	m.sockets = nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

func fds[T interface{ FD() int }](all []T) (fds []int) {
	for _, f := range all {
		fds = append(fds, f.FD())
	}
	return fds
}
