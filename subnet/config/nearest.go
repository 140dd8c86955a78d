package config

import "strings"

// nearest returns the known name that s most likely stands for, or "".
func nearest(s string, known []string) string {
	// No known name is half as long; this bounds the work on garbage.
	if len(s) > 64 {
		return ""
	}
	best, bestDistance := "", 0
	for _, k := range known {
		d := distance(strings.ToLower(s), strings.ToLower(k))
		// A third of the letters wrong is a typo; more is another word.
		if d > max(len(k)/3, 1) || d >= len(k) {
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
