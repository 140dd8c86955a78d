package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/wire"
)

// The file, of which a person can read all:
//
//	flanneld-cluster 1
//	sha256 <of all that follows, in hexadecimal>
//	<the header, JSON>
//	<the configuration, of as many bytes as the header says>
//	<the own lease>
//	<one line for each other lease>
//
// A lease is its key, its revision, its expiry ("-" for a reservation) and its
// value, with one space between them; key and value are spelled as in the store.
const (
	magic   = "flanneld-cluster "
	version = 1
	sumName = "sha256 "
)

// maxFile bounds what is read, in bytes: a lease has some 250, 10,000 of them 2.5 MB.
const maxFile = 64 << 20

type header struct {
	Node, Prefix       string
	Saved, Sent, Until moment
	ConfigRev          subnet.Revision
	ConfigBytes        int
	Leases             int // the own one included
}

// moment is how a Moment is written.
type moment struct {
	Boot  string
	Since int64 // nanoseconds
	Wall  time.Time
}

func (m Moment) written() moment { return moment{m.Boot, int64(m.Since), m.Wall.Round(0).UTC()} }
func (m moment) read() Moment    { return Moment{m.Boot, time.Duration(m.Since), m.Wall} }

// Encode returns the file. Leases of other hosts that cannot be spelled are left
// out; it is an error if the own one cannot.
func (k Known) Encode() ([]byte, error) {
	var leases []byte
	leases, err := appendLease(leases, k.Own)
	if err != nil {
		return nil, err
	}
	count := 1
	for _, l := range k.Peers {
		if with, err := appendLease(leases, l); err == nil {
			leases = with
			count++
		}
	}
	h, err := json.Marshal(header{
		Node: k.Host.Node, Prefix: k.Host.Prefix, Saved: k.Saved.written(), Sent: k.Sent.written(), Until: k.Until.written(),
		ConfigRev: k.Config.Rev, ConfigBytes: len(k.Config.Raw), Leases: count,
	})
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	body := make([]byte, 0, len(h)+len(k.Config.Raw)+len(leases)+2)
	body = append(append(body, h...), '\n')
	body = append(append(body, k.Config.Raw...), '\n')
	body = append(body, leases...)
	sum := sha256.Sum256(body)
	file := fmt.Appendf(make([]byte, 0, len(body)+128), "%s%d\n%s%x\n", magic, version, sumName, sum)
	return append(file, body...), nil
}

func appendLease(b []byte, l subnet.Lease) ([]byte, error) {
	value, err := wire.Encode(l)
	if err != nil {
		return nil, err
	}
	b = append(append(b, wire.Key(l.Key())...), ' ')
	b = append(strconv.AppendUint(b, uint64(l.Rev), 10), ' ')
	if l.Reserved() {
		b = append(b, '-')
	} else {
		b = l.Expires.UTC().AppendFormat(b, time.RFC3339Nano)
	}
	b = append(append(b, ' '), value...)
	return append(b, '\n'), nil
}

var (
	errNoCache = errors.New("it is damaged: its first line is none of a cache's")
	errCut     = errors.New("it is damaged: its end is missing")
	errSum     = errors.New("it is damaged: its checksum is wrong")
)

// Decode reads what Encode writes. The error says what is wrong with it, for "it"
// being the file.
func Decode(data []byte) (Known, error) {
	if len(data) > maxFile {
		return Known{}, fmt.Errorf("it has %d bytes, more than %d", len(data), maxFile)
	}
	first, rest, whole := bytes.Cut(data, []byte("\n"))
	number, ok := bytes.CutPrefix(first, []byte(magic))
	switch n, err := strconv.ParseUint(string(number), 10, 32); {
	case !whole:
		return Known{}, errCut
	case !ok || err != nil:
		return Known{}, errNoCache
	case n != version:
		return Known{}, fmt.Errorf("it is of version %d, and this daemon reads version %d", n, version)
	}
	line, body, whole := bytes.Cut(rest, []byte("\n"))
	if !whole {
		return Known{}, errCut
	}
	digits, _ := bytes.CutPrefix(line, []byte(sumName))
	sum := sha256.Sum256(body)
	if string(digits) != hex.EncodeToString(sum[:]) {
		return Known{}, errSum
	}
	k, err := decode(body)
	if err != nil {
		// Nobody's accident: the checksum was right.
		return Known{}, fmt.Errorf("it cannot be understood: %w", err)
	}
	return k, nil
}

func decode(body []byte) (Known, error) {
	line, rest, _ := bytes.Cut(body, []byte("\n"))
	var h header
	if !utf8.Valid(line) {
		return Known{}, errors.New("header is not text")
	}
	if err := json.Unmarshal(line, &h); err != nil {
		return Known{}, fmt.Errorf("read header: %w", err)
	}
	if h.ConfigBytes < 0 || h.ConfigBytes >= len(rest) || rest[h.ConfigBytes] != '\n' {
		return Known{}, errors.New("the configuration is not as long as the header says")
	}
	k := Known{
		Host:   Host{h.Node, h.Prefix},
		Config: config.Document{Raw: bytes.Clone(rest[:h.ConfigBytes]), Rev: h.ConfigRev},
		Saved:  h.Saved.read(), Sent: h.Sent.read(), Until: h.Until.read(),
	}
	rest = rest[h.ConfigBytes+1:]
	if n := bytes.Count(rest, []byte("\n")); h.Leases < 1 || n != h.Leases || rest[len(rest)-1] != '\n' {
		return Known{}, fmt.Errorf("%d leases where the header says %d", n, h.Leases)
	}
	k.Peers = make([]subnet.Lease, 0, h.Leases-1)
	text := string(rest) // once: leases hold parts of it
	for i := range h.Leases {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		l, err := readLease(line)
		if err != nil {
			return Known{}, err
		}
		if i == 0 {
			k.Own = l
		} else {
			k.Peers = append(k.Peers, l)
		}
	}
	return k, nil
}

func readLease(line string) (subnet.Lease, error) {
	field := strings.SplitN(line, " ", 4)
	if len(field) < 4 {
		return subnet.Lease{}, errors.New("a lease lacks a field")
	}
	l, err := wire.Decode(field[0], field[3])
	if err != nil {
		return subnet.Lease{}, err
	}
	rev, err := strconv.ParseUint(field[1], 10, 64)
	if err != nil {
		return subnet.Lease{}, fmt.Errorf("revision of lease %s: %w", l.Key(), err)
	}
	l.Rev = subnet.Revision(rev)
	if field[2] != "-" {
		if l.Expires, err = time.Parse(time.RFC3339Nano, field[2]); err == nil && l.Expires.IsZero() {
			err = errors.New("it is none")
		}
		if err != nil {
			return subnet.Lease{}, fmt.Errorf("expiry of lease %s: %w", l.Key(), err)
		}
		l.Expires = l.Expires.UTC()
	}
	return l, nil
}
