package firewall

import (
	"net/netip"
	"strconv"
	"strings"
)

// ParseRule reads a rule as iptables-save(8) prints it, without "-A" and the
// chain. What the package has no field for is kept in Other, so that such a rule
// equals none that has another meaning.
func ParseRule(text string) Rule {
	var r Rule
	var other []string
	words := split(text)
	for i := 0; i < len(words); {
		if words[i].text == "-j" && i+1 < len(words) {
			r.Target = words[i+1].text
			r.Options = join(words[i+2:])
			break
		}
		n := r.match(words[i:])
		if n == 0 {
			other = append(other, words[i].raw)
			n = 1
		}
		i += n
	}
	r.Other = strings.Join(other, " ")
	return r
}

// match reads one match into its field and returns how many words it has, or 0
// if it is none that the package knows or the field has a value already.
func (r *Rule) match(words []word) int {
	n := 2
	not := words[0].raw == "!"
	if not {
		words, n = words[1:], 3
	}
	if len(words) < 2 {
		return 0
	}
	ok, flag, value := false, words[0].text, words[1].text
	switch flag {
	case "-s":
		ok = r.Src.read(value, not)
	case "-d":
		ok = r.Dst.read(value, not)
	case "-i":
		ok = r.In.read(value, not)
	case "-o":
		ok = r.Out.read(value, not)
	case "-m":
		if not || len(words) < 4 {
			return 0
		}
		n = 4
		switch name, text := words[2].text, words[3].text; {
		case value == "mark" && name == "--mark":
			ok = r.Mark.read(text)
		case value == "comment" && name == "--comment" && r.Comment == "":
			r.Comment, ok = text, text != ""
		}
	}
	if !ok {
		return 0
	}
	return n
}

func (n *Net) read(value string, not bool) bool {
	p, err := netip.ParsePrefix(value)
	if err != nil || p != p.Masked() || n.Prefix.IsValid() {
		return false
	}
	*n = Net{p, not}
	return true
}

func (i *Iface) read(name string, not bool) bool {
	if name == "" || i.Name != "" {
		return false
	}
	*i = Iface{name, not}
	return true
}

func (m *Mark) read(s string) bool {
	value, mask, masked := strings.Cut(s, "/")
	if !masked {
		mask = "0xffffffff"
	}
	v, err := strconv.ParseUint(value, 0, 32)
	bits, maskErr := strconv.ParseUint(mask, 0, 32)
	if err != nil || maskErr != nil || bits == 0 || m.Mask != 0 {
		return false
	}
	*m = Mark{uint32(v), uint32(bits)}
	return true
}

// word is a word of a line, and how it was written.
type word struct{ text, raw string }

// split cuts a line into words. Double quotes around one hold blanks together; in them
// a backslash takes the next byte as it is. Names of interfaces are printed without, and
// may have such quotes themselves.
func split(line string) []word {
	const blanks = " \t"
	var words []word
	for line = strings.TrimLeft(line, blanks); line != ""; line = strings.TrimLeft(line, blanks) {
		var text strings.Builder
		i := 0
		if line[0] == '"' {
			for i = 1; i < len(line) && line[i] != '"'; i++ {
				if line[i] == '\\' && i+1 < len(line) {
					i++
				}
				text.WriteByte(line[i])
			}
			i = min(i+1, len(line))
		}
		end := len(line)
		if n := strings.IndexAny(line[i:], blanks); n >= 0 {
			end = i + n
		}
		text.WriteString(line[i:end])
		words = append(words, word{text.String(), line[:end]})
		line = line[end:]
	}
	return words
}

func join(words []word) string {
	raw := make([]string, len(words))
	for i, w := range words {
		raw[i] = w.raw
	}
	return strings.Join(raw, " ")
}
