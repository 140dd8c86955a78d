// Package envfile reads and writes files of NAME=value lines, as systemd's
// EnvironmentFile= and shells read them. It reads whatever is there, since
// other programs write such files too; what it writes appears whole or not at
// all. It does not know what the variables mean.
package envfile

import (
	"bytes"
	"cmp"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxLine is the longest line, in bytes, that can be an assignment.
const maxLine = 16 << 10

// assignment matches a line without blanks around it. Its groups are the name, and the
// value as it stands in single quotes, in double quotes, or without any.
var assignment = regexp.MustCompile(`^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*` +
	`(?:(?:'([^']*)'|"((?:[^"\\]|\\.)*)"|([^'"# \t].*?)|)(?:[ \t]+#.*)?|#.*)$`)

var unescape = strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\$`, `$`, "\\`", "`")

// Parse returns the variables that data assigns, never nil; the last assignment of a
// name wins. Each line stands for itself: a quote that is not closed spoils its line and
// no other. A line that is neither an assignment nor blank nor a comment is ignored.
//
// Names are those of POSIX shells. Values may be in single quotes, which keep
// everything, or in double quotes, where a backslash escapes `"`, `\`, `$` and
// "`". Nothing is expanded. Behind an unquoted or quoted value, blank and # start
// a comment.
func Parse(data []byte) map[string]string {
	vars := make(map[string]string)
	for raw := range bytes.Lines(bytes.TrimPrefix(data, []byte("\ufeff"))) {
		line := strings.Trim(string(raw), " \t\r\n")
		if len(raw) > maxLine || !isText(line) {
			continue
		}
		if m := assignment.FindStringSubmatch(line); m != nil {
			vars[m[1]] = cmp.Or(m[2], unescape.Replace(m[3]), m[4])
		}
	}
	return vars
}

// isText reports whether s is UTF-8 without control characters other than tabs.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' && r != '\t' || r == 0x7f
	})
}
