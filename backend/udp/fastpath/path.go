package fastpath

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"flanneld/pkg/bpf"
	"flanneld/pkg/datapath"
)

// DeviceName is the name of the VXLAN-GPE device, of which a host has one.
const DeviceName = "flannel-gpe"

// gpePort is the UDP port of VXLAN-GPE (RFC 9699's draft). Packets come to it from this host
// only, and from the same daemon.
const gpePort = 4790

// Config is what a Path works with.
type Config struct {
	Underlay string     // the interface that carries the tunnel
	Local    netip.Addr // its address, IPv4, which peers know this host by
	Port     uint16     // UDP, of all hosts
	Owner    string     // as in datapath.Scope
	// Changed is called when Announces has changed. It must not block.
	Changed func()
	Log     *slog.Logger
}

// State is what is forwarded.
type State struct {
	Device string       // flannel0
	Subnet netip.Prefix // this host's; its first address is what pings are from
	MTU    int          // of the device, in bytes
	Peers  []Peer
}

// Peer is another host.
type Peer struct {
	Subnet netip.Prefix
	Remote netip.Addr
	// Announces: its packets are as only the kernel makes them, and ours may be.
	Announces bool
	// Near: it is reached by the underlay's interface.
	Near bool
}

func (p Peer) takes() bool { return p.Announces && p.Near }

// Path is the fast path of this host.
type Path struct {
	Config
	programs *programs
	id       uint16 // of our pings

	mu       sync.Mutex
	settings settings
	state    State
	peers    map[netip.Addr]*peer // by the first address of the subnet, which is pinged
	there    bool                 // the device was, when it was looked for last
	proven   bool                 // packets come by the GPE device
	closed   string               // why they do not, as far as that is known
	wrong    string               // why the device or a filter is not in place; empty: they are
	refused  string               // what of the state the kernel does not take; empty: it takes all
}

// Open loads the programs. An error says why there is no fast path.
func Open(c Config) (*Path, error) {
	link, err := net.InterfaceByName(c.Underlay)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", c.Underlay, err)
	}
	if len(link.HardwareAddr) != 6 {
		return nil, fmt.Errorf("interface %s is no Ethernet", c.Underlay)
	}
	programs, err := load()
	if err != nil {
		return nil, err
	}
	if err := programs.try(bpf.Run); err != nil {
		programs.close()
		return nil, err
	}
	var random [2]byte
	_, _ = rand.Read(random[:]) // never fails
	p := &Path{Config: c, programs: programs, id: binary.BigEndian.Uint16(random[:]) | 1, peers: make(map[netip.Addr]*peer),
		wrong: "its filters are not attached yet"}
	p.settings = settings{
		Own: c.Local.As4(), Underlay: uint32(link.Index), Port: inPacket(c.Port), GPEPort: inPacket(gpePort),
		Secret: secretOf(c.Owner),
	}
	return p, nil
}

// secretOf returns the same for the same owner: after a restart one program may still be that
// of the last run when the other is not. Nothing that comes from outside has a priority.
func secretOf(owner string) uint32 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(owner))
	return hash.Sum32() | 1
}

func inPacket(n uint16) (b [2]byte) {
	binary.BigEndian.PutUint16(b[:], n)
	return b
}

// Close lets go of the programs. Those that are attached go on.
func (p *Path) Close() { p.programs.close() }

// Link is the device that must be there.
func (p *Path) Link() datapath.Link {
	// Its MTU does not matter, but that it must not cut anything.
	return datapath.Link{Name: DeviceName, Kind: "vxlan", Alias: p.Owner, Up: true, MTU: 65000,
		VXLAN: datapath.VXLAN{Port: gpePort, GPE: true}}
}

// Filters are what must be attached.
func (p *Path) Filters(device string) []datapath.Filter {
	filter := func(link string, egress bool, one program) datapath.Filter {
		return datapath.Filter{Link: link, Egress: egress, Owner: p.Owner, Program: one.id, FD: one.fd}
	}
	return []datapath.Filter{filter(DeviceName, false, p.programs.gpe), filter(p.Underlay, false, p.programs.rx),
		filter(device, true, p.programs.tx)}
}

// Failed is told what keeps the device or a filter from being in place, or nil.
func (p *Path) Failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(&p.wrong, err)
}

// note notes one of the reasons for which packets go through the daemon, or that there is none.
func (p *Path) note(reason *string, err error) {
	if err == nil {
		p.change(func() { *reason = "" })
		return
	}
	if err.Error() != *reason {
		p.Log.Info("Packets go through the daemon, not through the kernel", "err", err, "hint", "--udp-offload=kernel makes that permanent")
	}
	p.change(func() { *reason, p.proven = err.Error(), false })
}

// Set makes the programs forward by the state. It is called before they are attached, and
// then whenever the state may have changed.
func (p *Path) Set(s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(&p.refused, p.set(s, time.Now()))
}

func (p *Path) set(s State, now time.Time) error {
	p.state = s
	p.there = false
	if link, err := net.InterfaceByName(s.Device); err == nil {
		p.there = p.programs.attach(link.Index) == nil // or it has gone meanwhile
	}
	p.settings.MTU, p.settings.Subnet = uint32(s.MTU), s.Subnet.Masked().Addr().As4()
	binary.BigEndian.PutUint32(p.settings.Mask[:], ^uint32(0)<<(32-s.Subnet.Bits()))
	err := p.programs.configure(p.settings)
	gone := maps.Clone(p.peers)
	for _, want := range s.Peers {
		first := want.Subnet.Masked().Addr()
		have := p.peers[first]
		if have == nil || have.Subnet != want.Subnet || have.Remote != want.Remote {
			have = newPeer(want, now)
			p.peers[first] = have
		}
		if gone[first] == have {
			delete(gone, first)
		}
		have.follow(want, now)
		err = errors.Join(err, p.write(have, now))
	}
	for first, one := range gone {
		if now := p.peers[first]; now == one {
			delete(p.peers, first)
		} else if now.Subnet == one.Subnet {
			continue // its entry was written over
		}
		err = errors.Join(err, p.programs.remove(one.Subnet))
	}
	return err
}

// write makes a peer's entry what it should be.
func (p *Path) write(one *peer, now time.Time) error {
	e := one.entry(p.proven, now)
	if one.written == e {
		return nil
	}
	err := p.programs.put(one.Subnet, e)
	if err == nil {
		one.written = e
	}
	return err
}

// writeAll makes the peers' entries what they should be by now.
func (p *Path) writeAll(now time.Time) {
	for _, one := range p.peers {
		if err := p.write(one, now); err != nil {
			p.Log.Debug("The kernel does not take a peer", "subnet", one.Subnet, "err", err)
		}
	}
}

// Announces reports whether peers may send packets as only the kernel makes them.
func (p *Path) Announces() bool { return p.Why() == "" }

// Why says why peers may not; empty: they may.
func (p *Path) Why() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.why()
}

func (p *Path) why() string {
	switch {
	case p.wrong != "":
		return p.wrong
	case p.refused != "":
		return p.refused
	case p.proven:
		return ""
	case p.closed != "":
		return p.closed
	}
	return "no ping has come by " + DeviceName + " yet"
}

// change calls f, which changes what Why depends on, and the way in which outer headers are
// removed: while packets do not come by the device, in another, which is right, and slow. Peers
// that still send them are taken from for a while.
func (p *Path) change(f func()) {
	was, proven := p.why(), p.proven
	f()
	mode := uint32(modePlain)
	if p.proven {
		mode = modeGPE
	}
	if p.settings.Mode != mode {
		p.settings.Mode = mode
		if err := p.programs.configure(p.settings); err != nil {
			p.Log.Error("The kernel does not take a setting of the fast path", "err", err)
		}
	}
	if proven && !p.proven {
		for _, one := range p.peers {
			one.unproven(time.Now())
		}
	}
	if proven != p.proven {
		p.writeAll(time.Now())
	}
	if p.why() != was {
		p.Changed()
	}
}

// InKernel returns the subnets of the peers to which packets go through the kernel.
func (p *Path) InKernel() (subnets []netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.peers {
		if one.tx {
			subnets = append(subnets, one.Subnet)
		}
	}
	return subnets
}

// Counter is a number that only grows.
type Counter struct {
	Name  string
	Value uint64
}

// Counters returns the same names in the same order each time.
func (p *Path) Counters() []Counter {
	n, _ := p.programs.count() // zero, if the kernel does not say
	return []Counter{
		{"tx_packets", n.TxPackets}, {"tx_bytes", n.TxBytes}, {"tx_super", n.TxSuper}, {"tx_up", n.TxUp},
		{"rx_packets", n.RxPackets}, {"rx_bytes", n.RxBytes}, {"rx_super", n.RxSuper}, {"rx_up", n.RxUp},
		{"gpe_packets", n.GPE}, {"gpe_strangers", n.GPEStrangers}, {"closed_port", n.Closed}, {"refused", n.Refused}, {"errors", n.Errors},
	}
}
