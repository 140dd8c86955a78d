package cache

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"flanneld/pkg/words"
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
	version = "1"
)

// maxFile bounds what is read, in bytes: a lease has some 250, so 10,000 of them have 2.5 MB.
const maxFile = 64 << 20

type header struct {
	Host
	API                string // empty: v2, in files of before there was another one
	Saved, Sent, Until Moment
	ConfigRev          subnet.Revision
	ConfigBytes        int
	Leases             int // the own one included
}

// Encode returns the file. Leases of other hosts that cannot be spelled are left
// out; it is an error if the own one cannot.
func (k Known) Encode() ([]byte, error) {
	leases, err := appendLease(nil, k.Own)
	if err != nil {
		return nil, err
	}
	count := 1
	for _, l := range k.Peers {
		if leases, err = appendLease(leases, l); err == nil {
			count++
		}
	}
	h, err := json.Marshal(header{k.Host, k.API, k.Saved, k.Sent, k.Until, k.Config.Rev, len(k.Config.Raw), count})
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	return seal(fmt.Appendf(nil, "%s\n%s\n%s", h, k.Config.Raw, leases)), nil
}

// seal puts the first two lines before the others.
func seal(body []byte) []byte {
	return append(fmt.Appendf(nil, "%s%s\n%s\n", magic, version, checksum(body)), body...)
}

func checksum(body []byte) string { return fmt.Sprintf("sha256 %x", sha256.Sum256(body)) }

// appendLease returns b as it is if the lease cannot be spelled.
func appendLease(b []byte, l subnet.Lease) ([]byte, error) {
	value, err := wire.Encode(l)
	if err != nil {
		return b, err
	}
	expires := "-"
	if !l.Reserved() {
		expires = l.Expires.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Appendf(b, "%s %d %s %s\n", wire.Key(l.Key()), l.Rev, expires, value), nil
}

// Decode reads what Encode writes. The error says what is wrong with it, for "it"
// being the file.
func Decode(data []byte) (Known, error) {
	lines := bytes.SplitN(data, []byte("\n"), 3)
	switch {
	case len(data) > maxFile:
		return Known{}, fmt.Errorf("it has %d bytes, more than %d", len(data), maxFile)
	case len(lines) < 3:
		return Known{}, errors.New("it is damaged: its end is missing")
	}
	switch is, ok := strings.CutPrefix(string(lines[0]), magic); {
	case !ok:
		return Known{}, errors.New("it is damaged: its first line is none of a cache's")
	case is != version:
		return Known{}, fmt.Errorf("it is of version %s, and this daemon reads version %s", words.Clip(is), version)
	case string(lines[1]) != checksum(lines[2]):
		return Known{}, errors.New("it is damaged: its checksum is wrong")
	}
	k, err := decode(lines[2])
	if err != nil {
		// This is no accident: the checksum was right.
		return Known{}, fmt.Errorf("it cannot be understood: %w", err)
	}
	return k, nil
}

func decode(body []byte) (Known, error) {
	line, rest, _ := bytes.Cut(body, []byte("\n"))
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		return Known{}, fmt.Errorf("read header: %w", err)
	}
	if h.ConfigBytes < 0 || h.ConfigBytes >= len(rest) {
		return Known{}, errors.New("the configuration is not as long as the header says")
	}
	if h.API = cmp.Or(h.API, "v2"); h.API != "v2" && h.API != "v3" {
		return Known{}, fmt.Errorf("etcd's API is %s, and neither v2 nor v3", words.Clip(h.API))
	}
	k := Known{Host: h.Host, API: h.API, Saved: h.Saved, Sent: h.Sent, Until: h.Until,
		Config: config.Document{Raw: bytes.Clone(rest[:h.ConfigBytes]), Rev: h.ConfigRev}}
	text := strings.TrimSuffix(string(rest[h.ConfigBytes+1:]), "\n") // once: leases hold parts of it
	leases := make([]subnet.Lease, 0, strings.Count(text, "\n")+1)
	for line := range strings.SplitSeq(text, "\n") {
		l, err := readLease(line)
		if err != nil {
			return Known{}, err
		}
		leases = append(leases, l)
	}
	if len(leases) != h.Leases {
		return Known{}, fmt.Errorf("%d leases where the header says %d", len(leases), h.Leases)
	}
	k.Own, k.Peers = leases[0], leases[1:]
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
	if err == nil && field[2] != "-" {
		l.Expires, err = time.Parse(time.RFC3339Nano, field[2])
	}
	if err != nil {
		return subnet.Lease{}, fmt.Errorf("lease %s: %w", l.Key(), err)
	}
	l.Rev, l.Expires = subnet.Revision(rev), l.Expires.UTC()
	return l, nil
}
