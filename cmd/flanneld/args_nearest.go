package main

import "strings"

// nearest returns the name closest to s, or "" if none is close enough to be
// what was meant. Case and the choice of "-" or "_" do not count.
func nearest(s string, names []string) string {
	// A flag name has under 30 bytes; this bounds the work on garbage.
	if len(s) > 64 {
		return ""
	}
	fold := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }
	best, bestDist := "", 0
	for _, n := range names {
		d := editDistance(fold(s), fold(n))
		if d > max(len(n)/4, 1) || d >= len(n) {
			continue
		}
		if best == "" || d < bestDist {
			best, bestDist = n, d
		}
	}
	return best
}

// editDistance counts the single-byte insertions, deletions and replacements
// that turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal = row[j+1]
			row[j+1] = min(d, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
