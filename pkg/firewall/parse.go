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
	not := len(words) > 0 && words[0].raw == "!"
	n := 0
	if not {
		n = 1
	}
	if len(words) < n+2 {
		return 0
	}
	flag, value := words[n].text, words[n+1].text
	switch flag {
	case "-s", "-d":
		into := &r.Src
		if flag == "-d" {
			into = &r.Dst
		}
		p, err := netip.ParsePrefix(value)
		if err != nil || p != p.Masked() || into.Prefix.IsValid() {
			return 0
		}
		*into = Net{p, not}
		return n + 2
	case "-i", "-o":
		into := &r.In
		if flag == "-o" {
			into = &r.Out
		}
		if value == "" || into.Name != "" {
			return 0
		}
		*into = Iface{value, not}
		return n + 2
	case "-m":
		if not || len(words) < 4 {
			return 0
		}
		switch name, value := words[2].text, words[3].text; {
		case words[1].text == "mark" && name == "--mark" && r.Mark.Mask == 0:
			m, ok := parseMark(value)
			if !ok {
				return 0
			}
			r.Mark = m
		case words[1].text == "comment" && name == "--comment" && r.Comment == "" && value != "":
			r.Comment = value
		default:
			return 0
		}
		return 4
	}
	return 0
}

func parseMark(s string) (Mark, bool) {
	value, mask, masked := strings.Cut(s, "/")
	m := Mark{Mask: 0xffffffff}
	v, err := strconv.ParseUint(value, 0, 32)
	if err != nil {
		return m, false
	}
	m.Value = uint32(v)
	if masked {
		v, err := strconv.ParseUint(mask, 0, 32)
		if err != nil || v == 0 {
			return m, false
		}
		m.Mask = uint32(v)
	}
	return m, true
}

// word is a word of a line, and how it was written.
type word struct{ text, raw string }

// split cuts a line into words. Double quotes around one hold blanks together; in them
// a backslash takes the next byte as it is. Names of interfaces are printed without, and
// may have such quotes themselves.
func split(line string) []word {
	var words []word
	var text strings.Builder
	start, quoted := -1, false
	end := func(i int) {
		if start >= 0 {
			words = append(words, word{text.String(), line[start:i]})
		}
		text.Reset()
		start = -1
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		if (c == ' ' || c == '\t') && !quoted {
			end(i)
			continue
		}
		if start < 0 {
			start = i
		}
		switch {
		case c == '\\' && quoted && i+1 < len(line):
			i++
			text.WriteByte(line[i])
		case c == '"' && (quoted || i == start):
			quoted = !quoted
		default:
			text.WriteByte(c)
		}
	}
	end(len(line))
	return words
}

func join(words []word) string {
	raw := make([]string, len(words))
	for i, w := range words {
		raw[i] = w.raw
	}
	return strings.Join(raw, " ")
}
