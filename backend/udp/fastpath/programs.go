package fastpath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"flanneld/pkg/bpf"
)

//go:generate go run flanneld/pkg/bpf/bpfgen fastpath.c

// What the programs and this process have in common is declared in fastpath.c.
type (
	// settings is struct config.
	settings struct {
		Own, Subnet, Mask [4]byte
		Underlay, MTU     uint32
		Mode, Secret      uint32
		Port, GPEPort     [2]byte
		ProbeIn           [2]byte
		_                 [2]byte
	}
	// entry is struct peer.
	entry struct {
		Remote [4]byte
		Flags  uint32
	}
	// tally is struct counters.
	tally struct {
		TxPackets, TxBytes, TxSuper, TxUp                 uint64
		RxPackets, RxBytes, RxSuper, RxUp                 uint64
		ToGPE, GPE, GPEStrangers, Closed, Refused, Errors uint64
	}
)

const (
	modePlain, modeGPE = 0, 1

	takeRx, takeTx, plainRx = 1, 2, 4 // flags of an entry
)

// programs are the three programs, in the kernel, and their maps.
type programs struct {
	tx, rx, gpe                     program
	config, peers, counters, device *bpf.Map
}

type program struct {
	fd int
	id uint32
}

// load loads all. Nothing runs yet.
func load() (*programs, error) {
	p := &programs{tx: program{fd: -1}, rx: program{fd: -1}, gpe: program{fd: -1}}
	var maps []*bpf.Map
	for _, s := range fastpathMaps() {
		m, err := bpf.NewMap(s)
		if err != nil {
			p.close()
			return nil, err
		}
		maps = append(maps, m)
		switch s.Name {
		case "config_map":
			p.config = m
		case "peers_map":
			p.peers = m
		case "counters_map":
			p.counters = m
		case "device_map":
			p.device = m
		}
	}
	for _, one := range []struct {
		to   *program
		code bpf.Program
	}{{&p.tx, txProgram()}, {&p.rx, rxProgram()}, {&p.gpe, gpeProgram()}} {
		var err error
		if one.to.fd, err = one.code.Load(maps...); err == nil {
			one.to.id, err = bpf.ID(one.to.fd)
		}
		if err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

func (p *programs) close() {
	for _, one := range []program{p.tx, p.rx, p.gpe} {
		if one.fd >= 0 {
			_ = unix.Close(one.fd)
		}
	}
	for _, m := range []*bpf.Map{p.config, p.peers, p.counters, p.device} {
		if m != nil {
			_ = m.Close()
		}
	}
}

func encode(v any) []byte {
	b, err := binary.Append(nil, binary.NativeEndian, v)
	if err != nil {
		panic(err) // the types above have fixed sizes
	}
	return b
}

func (p *programs) configure(s settings) error { return p.config.Put(encode(uint32(0)), encode(s)) }

// attach tells which device packets come in by, until it is deleted.
func (p *programs) attach(index int) error {
	return p.device.Put(encode(uint32(0)), encode(uint32(index)))
}

// detach takes back what attach told.
func (p *programs) detach() error {
	err := p.device.Delete(encode(uint32(0)))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func peerKey(subnet netip.Prefix) []byte {
	address := subnet.Masked().Addr().As4()
	return append(encode(uint32(subnet.Bits())), address[:]...)
}

func (p *programs) put(subnet netip.Prefix, e entry) error {
	return p.peers.Put(peerKey(subnet), encode(e))
}

func (p *programs) remove(subnet netip.Prefix) error {
	err := p.peers.Delete(peerKey(subnet))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// count returns the sum over all processors.
func (p *programs) count() (sum tally, err error) {
	b, err := p.counters.Get(encode(uint32(0)))
	if err != nil {
		return sum, err
	}
	size := binary.Size(sum)
	if size == 0 || len(b)%size != 0 {
		return sum, fmt.Errorf("counters of %d bytes are no multiple of %d", len(b), size)
	}
	for ; len(b) > 0; b = b[size:] {
		var one tally
		if _, err := binary.Decode(b, binary.NativeEndian, &one); err != nil {
			return sum, err
		}
		sum = sum.plus(one)
	}
	return sum, nil
}

// uncount sets all counters to zero.
func (p *programs) uncount() error {
	b, err := p.counters.Get(encode(uint32(0)))
	if err != nil {
		return err
	}
	clear(b)
	return p.counters.Put(encode(uint32(0)), b)
}

func (t tally) plus(o tally) tally {
	return tally{
		t.TxPackets + o.TxPackets, t.TxBytes + o.TxBytes, t.TxSuper + o.TxSuper, t.TxUp + o.TxUp,
		t.RxPackets + o.RxPackets, t.RxBytes + o.RxBytes, t.RxSuper + o.RxSuper, t.RxUp + o.RxUp,
		t.ToGPE + o.ToGPE, t.GPE + o.GPE, t.GPEStrangers + o.GPEStrangers, t.Closed + o.Closed, t.Refused + o.Refused, t.Errors + o.Errors,
	}
}
