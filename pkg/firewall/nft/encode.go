package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"flanneld/pkg/firewall"
)

// reg is the register by which expressions pass values.
const reg = 1

// encoder collects a rule's expressions.
type encoder struct {
	v6  bool
	out []expr.Any
}

func (e *encoder) add(x ...expr.Any) { e.out = append(e.out, x...) }

func (e *encoder) meta(key expr.MetaKey) { e.add(&expr.Meta{Key: key, Register: reg}) }

func (e *encoder) cmp(not bool, data []byte) {
	op := expr.CmpOpEq
	if not {
		op = expr.CmpOpNeq
	}
	e.add(&expr.Cmp{Op: op, Register: reg, Data: data})
}

func (e *encoder) payload(base expr.PayloadBase, offset, length uint32) {
	e.add(&expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: length})
}

func (e *encoder) lookup(set string, absent bool) {
	if set != "" {
		e.add(&expr.Lookup{SourceRegister: reg, SetName: set, Invert: absent})
	}
}

// addr loads an address of the packet's header.
func (e *encoder) addr(dst bool) {
	offset, length := uint32(12), uint32(4)
	if e.v6 {
		offset, length = 8, 16
	}
	if dst {
		offset += length
	}
	e.payload(expr.PayloadBaseNetworkHeader, offset, length)
}

func (e *encoder) net(n firewall.Net, dst bool) {
	if !n.Prefix.IsValid() {
		return
	}
	e.addr(dst)
	length := n.Prefix.Addr().BitLen() / 8
	if n.Prefix.Bits() < length*8 {
		e.add(&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: uint32(length),
			Mask: mask(n.Prefix), Xor: make([]byte, length)})
	}
	e.cmp(n.Not, n.Prefix.Masked().Addr().AsSlice())
}

func mask(p netip.Prefix) []byte {
	m := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

func (e *encoder) iface(key expr.MetaKey, i firewall.Iface) {
	if i.Name == "" {
		return
	}
	e.meta(key)
	name := make([]byte, unix.IFNAMSIZ)
	copy(name[:unix.IFNAMSIZ-1], i.Name)
	e.cmp(i.Not, name)
}

// expressions returns the rule as the kernel knows it.
func (r Rule) expressions(f Family) ([]expr.Any, error) {
	e := encoder{v6: r.V6 || f == IPv6}
	if r.Other != "" {
		return nil, fmt.Errorf("a rule has %q, which has no form in nftables", r.Other)
	}
	addresses := r.Src.Prefix.IsValid() || r.Dst.Prefix.IsValid() || r.SrcIn != "" || r.DstIn != "" || r.Absent != "" || r.Remember != "" || r.Split
	if f == Inet && addresses {
		e.meta(expr.MetaKeyNFPROTO)
		family := byte(unix.NFPROTO_IPV4)
		if e.v6 {
			family = unix.NFPROTO_IPV6
		}
		e.cmp(false, []byte{family})
	}
	e.iface(expr.MetaKeyIIFNAME, r.In)
	e.iface(expr.MetaKeyOIFNAME, r.Out)
	if r.Mark.Mask != 0 {
		e.meta(expr.MetaKeyMARK)
		e.add(&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: native(r.Mark.Mask), Xor: native(0)})
		e.cmp(false, native(r.Mark.Value))
	}
	if r.Split {
		e.add(&expr.Exthdr{DestRegister: reg, Type: unix.IPPROTO_FRAGMENT, Len: 1, Flags: unix.NFT_EXTHDR_F_PRESENT, Op: expr.ExthdrOpIpv6})
		e.cmp(false, []byte{1})
	}
	if r.Port != 0 {
		e.meta(expr.MetaKeyL4PROTO)
		e.cmp(false, []byte{unix.IPPROTO_UDP})
		e.payload(expr.PayloadBaseTransportHeader, 2, 2)
		e.cmp(false, binary.BigEndian.AppendUint16(nil, r.Port))
	}
	if r.VXLAN {
		// Behind 8 bytes of UDP and 4 of flags.
		e.payload(expr.PayloadBaseTransportHeader, 12, 3)
		e.cmp(false, binary.BigEndian.AppendUint32(nil, r.VNI)[1:])
	}
	e.net(r.Src, false)
	e.net(r.Dst, true)
	for _, set := range []string{r.SrcIn, r.Absent} {
		if set != "" {
			e.addr(false)
			e.lookup(set, set == r.Absent)
		}
	}
	if r.DstIn != "" {
		e.addr(true)
		e.lookup(r.DstIn, false)
	}
	e.actions(r)
	return e.out, e.verdict(r)
}

func (e *encoder) actions(r Rule) {
	if r.Count != "" {
		e.add(&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: r.Count})
	}
	if r.Remember != "" {
		e.addr(false)
		e.add(&expr.Dynset{SrcRegKey: reg, SetName: r.Remember, Operation: unix.NFT_DYNSET_OP_UPDATE})
	}
	if r.SetMark.Mask != 0 {
		e.meta(expr.MetaKeyMARK)
		e.add(&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4,
			Mask: native(^r.SetMark.Mask), Xor: native(r.SetMark.Value & r.SetMark.Mask)})
		e.add(&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg})
	}
}

func (e *encoder) verdict(r Rule) error {
	switch r.Target {
	case "":
	case firewall.Accept:
		e.add(&expr.Verdict{Kind: expr.VerdictAccept})
	case firewall.Drop:
		e.add(&expr.Verdict{Kind: expr.VerdictDrop})
	case firewall.Return:
		e.add(&expr.Verdict{Kind: expr.VerdictReturn})
	case firewall.Masquerade:
		e.add(&expr.Masq{FullyRandom: r.Options == firewall.RandomFully})
	default:
		return fmt.Errorf("a rule's target %q has no form in nftables", r.Target)
	}
	return nil
}

// userData carries a rule's comment as nft(8) writes and prints it.
func (r Rule) userData() []byte {
	if r.Comment == "" {
		return nil
	}
	return userdata.AppendString(nil, userdata.TypeComment, r.Comment)
}

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
