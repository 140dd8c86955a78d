package nft

import (
	"encoding/binary"
	"testing"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// attribute is a netlink attribute, filled up.
func attribute(typ uint16, data ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(data)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), data...)
	return append(b, make([]byte, -len(b)&3)...)
}

// FuzzParseGeneration: a number that is read is in the message, where the kernel puts it.
func FuzzParseGeneration(f *testing.F) {
	head := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}
	f.Add(append(head, attribute(unix.NFTA_GEN_ID, 1, 2, 3, 4)...), uint32(7))
	f.Add(append(head, attribute(unix.NFTA_GEN_ID, 1)...), uint32(0))
	f.Add(head, uint32(1<<31))
	f.Add([]byte{}, uint32(1))
	f.Fuzz(func(t *testing.T, m []byte, n uint32) {
		if got, ok := parseGeneration(m); ok && len(m) < sizeofNfgenmsg+unix.SizeofNlAttr+4 {
			t.Errorf("%x is read as %d", m, got)
		}
		whole := append(append(head[:4:4], attribute(100, m[:min(len(m), 1000)]...)...), attribute(unix.NFTA_GEN_ID, binary.BigEndian.AppendUint32(nil, n)...)...)
		if got, ok := parseGeneration(whole); !ok || got != n {
			t.Errorf("%x is read as %d, %t, want %d", whole, got, ok, n)
		}
	})
}

// FuzzTable has the kernel answer anything to what a table is read by. What is read of
// it can be compared, and is like itself.
func FuzzTable(f *testing.F) {
	head := []byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}
	name := attribute(unix.NFTA_CHAIN_TABLE, []byte("lab\x00")...)
	f.Add(append(append(head, name...), attribute(unix.NFTA_CHAIN_NAME, []byte("in\x00")...)...), []byte{}, []byte{}, []byte{}, []byte{})
	f.Add([]byte{}, []byte{}, append(append(head, name...), attribute(unix.NFTA_SET_NAME, []byte("s\x00")...)...), head, head)
	f.Add(head, head, head, head, head)
	f.Fuzz(func(t *testing.T, chain, rule, set, elements, object []byte) {
		answers := map[netlink.HeaderType][]byte{
			unix.NFT_MSG_GETCHAIN: chain, unix.NFT_MSG_GETRULE: rule, unix.NFT_MSG_GETSET: set,
			unix.NFT_MSG_GETSETELEM: elements, unix.NFT_MSG_GETOBJ: object,
		}
		c, err := nftables.New(nftables.WithTestDial(func(asked []netlink.Message) ([]netlink.Message, error) {
			var all []netlink.Message
			for _, m := range asked {
				what := m.Header.Type &^ (unix.NFNL_SUBSYS_NFTABLES << 8)
				h := netlink.Header{Type: m.Header.Type - 1, Sequence: m.Header.Sequence, PID: m.Header.PID} // NEW… is before GET…
				all = append(all, netlink.Message{Header: h, Data: answers[what]})
			}
			return all, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		e, err := readTable(c, ID{Inet, "lab"})
		if err != nil {
			if e != nil {
				t.Errorf("read %v and %v", e, err)
			}
			return
		}
		if !e.equal(e) {
			t.Errorf("%v is unlike itself", e)
		}
	})
}
