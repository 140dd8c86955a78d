// Package words helps programs to write to people: it finds the name that was
// meant, shortens what is quoted, and fills lines. It knows neither flags nor
// documents.
package words

import "strings"

// Nearest returns the known name that s most likely stands for, or "". Case and the
// choice of "-" or "_" do not count.
func Nearest(s string, known []string) string {
	// No known name is half as long; this bounds the work on garbage.
	if len(s) > 64 {
		return ""
	}
	fold := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }
	best, bestDistance := "", 0
	for _, k := range known {
		d := distance(fold(s), fold(k))
		// A quarter of the letters wrong is a typo; more is another word.
		if d > max(len(k)/4, 1) || d >= len(k) {
			continue
		}
		if best == "" || d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance counts the insertions, deletions and replacements of a byte, and the
// swaps of two neighbours, that turn a into b.
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			d := row[j]
			if a[i] != b[j] {
				d++
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			next[j+1] = min(d, row[j+1]+1, next[j]+1)
		}
		before, row = row, next
	}
	return row[len(b)]
}

// Clip shortens what others have written and we quote to 100 characters, so that a value
// of a megabyte does not make a log line of one.
func Clip(s string) string {
	n := 0
	for i := range s {
		if n++; n > 100 {
			return s[:i] + "..."
		}
	}
	return s
}

// Wrap returns text in indented lines of at most width columns, unless one word is
// longer than that.
func Wrap(text string, width, indent int) string {
	var b strings.Builder
	pad := strings.Repeat(" ", indent)
	col := 0
	for _, word := range strings.Fields(text) {
		switch {
		case col == 0:
			b.WriteString(pad)
			col = indent
		case col+1+len(word) > width:
			b.WriteString("\n" + pad)
			col = indent
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += len(word)
	}
	b.WriteByte('\n')
	return b.String()
}
