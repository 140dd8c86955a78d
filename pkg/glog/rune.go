package glog

import (
	"strconv"
	"unicode/utf8"
)

// unprintable reports whether r could end a line or confuse a terminal. It is
// also true of utf8.RuneError, which stands for bytes that are not UTF-8.
func unprintable(r rune) bool {
	return r == utf8.RuneError || !strconv.IsPrint(r)
}

// runeLen is the length in bytes of the first rune of s, which must not be
// empty; 1 for a byte that is not UTF-8.
func runeLen(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}
