package nft

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"flanneld/pkg/firewall"
)

// reg is the register by which expressions pass values.
const reg = 1

// rule returns the rule as the kernel knows it, without its place. The comment is as
// nft(8) writes and prints it.
func (r Rule) rule(f Family) *nftables.Rule {
	v6 := r.V6 || f == IPv6
	n := &nftables.Rule{Exprs: append(r.matches(v6, f == Inet), r.actions(v6)...)}
	if r.Comment != "" {
		n.UserData = userdata.AppendString(nil, userdata.TypeComment, r.Comment)
	}
	return n
}

// matches returns what compares the packet. With both, packets of both families come
// to the table.
func (r Rule) matches(v6, both bool) (out []expr.Any) {
	family := byte(unix.NFPROTO_IPV4)
	if v6 {
		family = unix.NFPROTO_IPV6
	}
	for _, m := range []struct {
		wanted bool
		load   expr.Any
		mask   []byte // nil: all of it is compared
		not    bool
		data   []byte
	}{
		{both, meta(expr.MetaKeyNFPROTO), nil, false, []byte{family}},
		{r.In.Name != "", meta(expr.MetaKeyIIFNAME), nil, r.In.Not, iface(r.In)},
		{r.Out.Name != "", meta(expr.MetaKeyOIFNAME), nil, r.Out.Not, iface(r.Out)},
		{r.Mark.Mask != 0, meta(expr.MetaKeyMARK), native(r.Mark.Mask), false, native(r.Mark.Value)},
		{r.Split, &expr.Exthdr{DestRegister: reg, Type: unix.IPPROTO_FRAGMENT, Len: 1, Flags: unix.NFT_EXTHDR_F_PRESENT, Op: expr.ExthdrOpIpv6},
			nil, false, []byte{1}},
		{r.Port != 0, meta(expr.MetaKeyL4PROTO), nil, false, []byte{unix.IPPROTO_UDP}},
		{r.Port != 0, payload(expr.PayloadBaseTransportHeader, 2, 2), nil, false, binary.BigEndian.AppendUint16(nil, r.Port)},
		// Behind 8 bytes of UDP and 4 of flags.
		{r.VXLAN, payload(expr.PayloadBaseTransportHeader, 12, 3), nil, false, binary.BigEndian.AppendUint32(nil, r.VNI)[1:]},
		{r.Src.Prefix.IsValid(), addr(v6, false), mask(r.Src.Prefix), r.Src.Not, r.Src.Prefix.Masked().Addr().AsSlice()},
		{r.Dst.Prefix.IsValid(), addr(v6, true), mask(r.Dst.Prefix), r.Dst.Not, r.Dst.Prefix.Masked().Addr().AsSlice()},
	} {
		if !m.wanted {
			continue
		}
		out = append(out, m.load)
		if m.mask != nil {
			out = append(out, bitwise(m.mask, make([]byte, len(m.mask))))
		}
		op := expr.CmpOpEq
		if m.not {
			op = expr.CmpOpNeq
		}
		out = append(out, &expr.Cmp{Op: op, Register: reg, Data: m.data})
	}
	for _, l := range []struct {
		set string
		dst bool
	}{{r.SrcIn, false}, {r.DstIn, true}} {
		if l.set != "" {
			out = append(out, addr(v6, l.dst), &expr.Lookup{SourceRegister: reg, SetName: l.set})
		}
	}
	if r.Invalid {
		out = append(out, &expr.Ct{Register: reg, Key: expr.CtKeySTATE}, bitwise(native(expr.CtStateBitINVALID), native(0)),
			&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: native(0)})
	}
	if r.Leads {
		out = append(out, &expr.Fib{Register: reg, ResultOIF: true, FlagSADDR: true, FlagIIF: true},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: native(0)})
	}
	return out
}

// actions returns what becomes of a packet that matches.
func (r Rule) actions(v6 bool) (out []expr.Any) {
	if r.Count != "" {
		out = append(out, &expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: r.Count})
	}
	if r.Remember != "" {
		out = append(out, addr(v6, false), &expr.Dynset{SrcRegKey: reg, SetName: r.Remember, Operation: unix.NFT_DYNSET_OP_UPDATE})
	}
	if r.SetMark.Mask != 0 {
		out = append(out, meta(expr.MetaKeyMARK), bitwise(native(^r.SetMark.Mask), native(r.SetMark.Value&r.SetMark.Mask)),
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg})
	}
	switch r.Target {
	case "":
	case firewall.Accept:
		out = append(out, &expr.Verdict{Kind: expr.VerdictAccept})
	case firewall.Drop:
		out = append(out, &expr.Verdict{Kind: expr.VerdictDrop})
	case firewall.Return:
		out = append(out, &expr.Verdict{Kind: expr.VerdictReturn})
	case firewall.Masquerade:
		out = append(out, &expr.Masq{FullyRandom: r.Options == firewall.RandomFully})
	default:
		out = append(out, &expr.Verdict{Kind: expr.VerdictJump, Chain: r.Target})
	}
	return out
}

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: reg} }

func payload(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: length}
}

// addr loads an address of the packet's header.
func addr(v6, dst bool) expr.Any {
	offset, length := uint32(12), uint32(4)
	if v6 {
		offset, length = 8, 16
	}
	if dst {
		offset += length
	}
	return payload(expr.PayloadBaseNetworkHeader, offset, length)
}

func bitwise(mask, xor []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: uint32(len(mask)), Mask: mask, Xor: xor}
}

func mask(p netip.Prefix) []byte {
	if p.IsSingleIP() {
		return nil
	}
	return net.CIDRMask(p.Bits(), p.Addr().BitLen())
}

func iface(i firewall.Iface) []byte {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name[:unix.IFNAMSIZ-1], i.Name)
	return name
}

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
