package nft

import (
	"encoding/binary"
	"net"

	"github.com/google/nftables"
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

func (e *encoder) payload(base expr.PayloadBase, offset, length uint32) {
	e.add(&expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: length})
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

func (e *encoder) bitwise(mask, xor []byte) {
	e.add(&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: uint32(len(mask)), Mask: mask, Xor: xor})
}

func (e *encoder) cmp(not bool, data []byte) {
	op := expr.CmpOpEq
	if not {
		op = expr.CmpOpNeq
	}
	e.add(&expr.Cmp{Op: op, Register: reg, Data: data})
}

func (e *encoder) net(n firewall.Net, dst bool) {
	if !n.Prefix.IsValid() {
		return
	}
	e.addr(dst)
	if !n.Prefix.IsSingleIP() {
		mask := net.CIDRMask(n.Prefix.Bits(), n.Prefix.Addr().BitLen())
		e.bitwise(mask, make([]byte, len(mask)))
	}
	e.cmp(n.Not, n.Prefix.Masked().Addr().AsSlice())
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

func (e *encoder) lookup(set string, dst, absent bool) {
	if set != "" {
		e.addr(dst)
		e.add(&expr.Lookup{SourceRegister: reg, SetName: set, Invert: absent})
	}
}

// rule returns the rule as the kernel knows it, without its place. The comment is as
// nft(8) writes and prints it.
func (r Rule) rule(f Family) *nftables.Rule {
	e := encoder{v6: r.V6 || f == IPv6}
	e.matches(r, f == Inet)
	e.actions(r)
	n := &nftables.Rule{Exprs: e.out}
	if r.Comment != "" {
		n.UserData = userdata.AppendString(nil, userdata.TypeComment, r.Comment)
	}
	return n
}

func (e *encoder) matches(r Rule, both bool) {
	if both {
		family := byte(unix.NFPROTO_IPV4)
		if e.v6 {
			family = unix.NFPROTO_IPV6
		}
		e.meta(expr.MetaKeyNFPROTO)
		e.cmp(false, []byte{family})
	}
	e.iface(expr.MetaKeyIIFNAME, r.In)
	e.iface(expr.MetaKeyOIFNAME, r.Out)
	if r.Mark.Mask != 0 {
		e.meta(expr.MetaKeyMARK)
		e.bitwise(native(r.Mark.Mask), native(0))
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
	e.lookup(r.SrcIn, false, false)
	e.lookup(r.Absent, false, true)
	e.lookup(r.DstIn, true, false)
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
		e.bitwise(native(^r.SetMark.Mask), native(r.SetMark.Value&r.SetMark.Mask))
		e.add(&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg})
	}
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
		panic("no rule for nftables has the target " + r.Target)
	}
}

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
