package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/firewall"
)

// ErrUnsupported: the kernel has no nftables.
var ErrUnsupported = errors.New("the kernel has no nftables")

var errUnreadable = errors.New("an answer of nftables cannot be read")

// Kernel is the nftables of a network namespace. The zero value is that of the
// calling thread. It is not safe for concurrent use.
type Kernel struct {
	NetNS int // descriptor of the namespace; 0: the calling thread's

	same map[ID]stamp // tables as they were when they last were as wanted
}

// stamp says when a table was compared last.
type stamp struct {
	generation uint32 // of all rules in the namespace, which every change raises
	want       encoded
}

const (
	// answerTime is how long the kernel may take to answer.
	answerTime = 10 * time.Second
	// sendBuffer holds the largest transaction: some 100,000 addresses.
	sendBuffer = 8 << 20 // bytes
	// chunk is how many elements go into one message, whose attributes have a
	// length of 16 bits.
	chunk = 500
	// rereads is how often rules are read again that changed meanwhile.
	rereads = 5
	// sizeofNfgenmsg is that of struct nfgenmsg of linux/netfilter/nfnetlink.h.
	sizeofNfgenmsg = 4
)

func (k *Kernel) dial() (*nftables.Conn, error) {
	return nftables.New(nftables.WithNetNSFd(k.NetNS), nftables.WithSockOptions(func(c *netlink.Conn) error {
		// A transaction that fails may leave messages without an answer.
		if err := c.SetDeadline(time.Now().Add(answerTime)); err != nil {
			return err
		}
		return c.SetWriteBuffer(sendBuffer)
	}))
}

// generation returns the number of the last change of any rule in the namespace.
func (k *Kernel) generation() (uint32, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: k.NetNS})
	if err != nil {
		return 0, fmt.Errorf("open nftables: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return 0, err
	}
	answers, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return 0, ErrUnsupported
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the generation of nftables: %w", err)
	}
	for _, a := range answers {
		if generation, ok := parseGeneration(a.Data); ok {
			return generation, nil
		}
	}
	return 0, errors.New("ask for the generation of nftables: no answer")
}

// parseGeneration reads an answer of NFT_MSG_NEWGEN: a nfgenmsg and attributes.
func parseGeneration(b []byte) (generation uint32, ok bool) {
	if len(b) < sizeofNfgenmsg {
		return 0, false
	}
	d, err := netlink.NewAttributeDecoder(b[sizeofNfgenmsg:])
	if err != nil {
		return 0, false
	}
	for d.Next() {
		if v := d.Bytes(); d.Type() == unix.NFTA_GEN_ID && len(v) == 4 {
			return binary.BigEndian.Uint32(v), true
		}
	}
	return 0, false
}

// Supported returns nil if the kernel has nftables, or ErrUnsupported.
func (k *Kernel) Supported() error {
	_, err := k.generation()
	return err
}

// Tables returns all tables that there are, whosever they are.
func (k *Kernel) Tables() (_ []ID, err error) {
	defer guard(&err)
	c, err := k.dial()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	tables, err := c.ListTables()
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	all := make([]ID, len(tables))
	for i, t := range tables {
		all[i] = ID{Family(t.Family), t.Name}
	}
	return all, nil
}

// Exists reports which of the tables there are.
func (k *Kernel) Exists(ids ...ID) ([]bool, error) {
	tables, err := k.Tables()
	if err != nil {
		return nil, err
	}
	there := make([]bool, len(ids))
	for i, id := range ids {
		there[i] = slices.Contains(tables, id)
	}
	return there, nil
}

// Alike returns those of the tables that there are, but this one, which drop what it drops:
// they have one of its rules that do, word for word. Only such as may are read.
func (k *Kernel) Alike(t Table, may func(ID) bool) ([]ID, error) {
	want, err := t.encode()
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, err)
	}
	drops := make(map[string]bool)
	for _, c := range t.Chains {
		for i, r := range c.Rules {
			if r.Target == firewall.Drop {
				drops[want.chains[c.Name].rules[i]] = true
			}
		}
	}
	tables, err := k.Tables()
	if err != nil {
		return nil, err
	}
	var alike []ID
	for _, id := range tables {
		if id == t.ID || !may(id) {
			continue
		}
		c, err := k.dial()
		if err != nil {
			return nil, fmt.Errorf("open nftables: %w", err)
		}
		have, err := readTable(c, id)
		if err != nil {
			return nil, fmt.Errorf("read table %s: %w", id, err)
		}
		for _, c := range have.chains {
			if slices.ContainsFunc(c.rules, func(r string) bool { return drops[r] }) {
				alike = append(alike, id)
				break
			}
		}
	}
	return alike, nil
}

// guard makes an error of it if the package cannot read what the kernel answers, which
// may be about what others have made: it panics at what is too short.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", errUnreadable, p)
	}
}

// read returns a table as the kernel has it; nil if there is none.
func (k *Kernel) read(c *nftables.Conn, id ID) (*encoded, error) {
	there, err := k.Exists(id)
	if err != nil || !there[0] {
		return nil, err
	}
	return readTable(c, id)
}

// readTable returns a table that there is.
func readTable(c *nftables.Conn, id ID) (_ *encoded, err error) {
	defer guard(&err)
	t := &nftables.Table{Family: nftables.TableFamily(id.Family), Name: id.Name}
	e := &encoded{chains: make(map[string]chainBody), sets: make(map[string]setBody), counters: make(map[string]bool)}
	chains, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	for _, ch := range chains {
		if ch.Table.Name != id.Name {
			continue
		}
		body := chainBody{kind: describe(ch)}
		rules, err := c.GetRules(t, ch)
		if err != nil {
			return nil, fmt.Errorf("list rules of %s: %w", ch.Name, err)
		}
		for _, r := range rules {
			text, err := flatten(id.Family, r.Exprs, r.UserData)
			if err != nil {
				return nil, err
			}
			body.rules = append(body.rules, text)
		}
		e.chains[ch.Name] = body
	}
	sets, err := c.GetSets(t)
	if err != nil {
		return nil, fmt.Errorf("list sets: %w", err)
	}
	for _, s := range sets {
		body := setBody{kind: kindOf(s)}
		if !s.Dynamic {
			if body.elements, err = elementsOf(c, s); err != nil {
				return nil, err
			}
		}
		e.sets[s.Name] = body
	}
	counters, err := countersOf(c, t)
	if err != nil {
		return nil, err
	}
	for name := range counters {
		e.counters[name] = true
	}
	return e, nil
}

func elementsOf(c *nftables.Conn, s *nftables.Set) (_ []element, err error) {
	defer guard(&err)
	raw, err := c.GetSetElements(s)
	if err != nil {
		return nil, fmt.Errorf("list elements of %s: %w", s.Name, err)
	}
	all := make([]element, 0, len(raw))
	for _, r := range raw {
		all = append(all, element{string(r.Key), r.IntervalEnd})
	}
	slices.SortFunc(all, func(a, b element) int { return strings.Compare(a.key, b.key) })
	return all, nil
}

func countersOf(c *nftables.Conn, t *nftables.Table) (_ map[string]uint64, err error) {
	defer guard(&err)
	objects, err := c.GetObjects(t)
	if err != nil {
		return nil, fmt.Errorf("list counters: %w", err)
	}
	all := make(map[string]uint64)
	for _, o := range objects {
		if counter, ok := o.(*nftables.CounterObj); ok {
			all[counter.Name] = counter.Packets
		}
	}
	return all, nil
}

// Counters returns how many packets the table's counters have counted; none if
// there is no such table.
func (k *Kernel) Counters(id ID) (map[string]uint64, error) {
	there, err := k.Exists(id)
	if err != nil || !there[0] {
		return nil, err
	}
	c, err := k.dial()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return countersOf(c, &nftables.Table{Family: nftables.TableFamily(id.Family), Name: id.Name})
}

// Remembered returns the addresses that rules have put into a set.
func (k *Kernel) Remembered(id ID, set string) ([]netip.Addr, error) {
	c, err := k.dial()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	s, err := c.GetSetByName(&nftables.Table{Family: nftables.TableFamily(id.Family), Name: id.Name}, set)
	if err != nil {
		return nil, fmt.Errorf("look for set %s: %w", set, err)
	}
	elements, err := elementsOf(c, s)
	if err != nil {
		return nil, err
	}
	all := make([]netip.Addr, len(elements))
	for i, e := range elements {
		var ok bool
		if all[i], ok = netip.AddrFromSlice([]byte(e.key)); !ok {
			return nil, fmt.Errorf("list elements of %s: %x is no address", set, e.key)
		}
	}
	return all, nil
}

// flatten returns a rule's expressions as the bytes that they are on the wire.
func flatten(f Family, exprs []expr.Any, comment []byte) (string, error) {
	var all []byte
	for _, e := range exprs {
		b, err := expr.Marshal(byte(f), e)
		if err != nil {
			return "", fmt.Errorf("encode a rule: %w", err)
		}
		all = append(all, b...)
	}
	return string(all) + "\x00" + string(comment), nil
}
