package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

const (
	apache = "Apache-2.0"
	// head begins the file. Debian has the text of this licence once for all packages, and
	// wants it named and not repeated; the other packages have it in a file beside this.
	head = `%s is free software.

Copyright: the flanneld authors
License: Apache-2.0, the Apache License, Version 2.0. On Debian its text is in
/usr/share/common-licenses/Apache-2.0, elsewhere in the file LICENSE beside this one.

The programs are linked from the modules below, under the licences that follow
their names. "Apache-2.0" is the one above.
`
)

var notice = regexp.MustCompile(`(?m)^\W*(Copyright .*\d{4}.*)$`)

// printCopyright prints the texts of all parts. One that several parts have is printed once.
func printCopyright(w io.Writer, programs []string) error {
	dirs, err := findSources()
	if err != nil {
		return err
	}
	var all []part
	for _, program := range programs {
		parts, _, err := partsOf(program)
		if err != nil {
			return err
		}
		for _, p := range parts {
			p.sum = ""
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b part) int { return strings.Compare(a.String(), b.String()) })
	name := programs[0][strings.LastIndexByte(programs[0], '/')+1:]
	if _, err := fmt.Fprintf(w, head, name); err != nil {
		return err
	}
	return writeTexts(w, slices.Compact(all), dirs)
}

func writeTexts(w io.Writer, parts []part, dirs sources) error {
	var texts []string
	of := make(map[string][]string) // by the text
	for _, p := range parts {
		found, err := dirs.texts(p)
		if err != nil {
			return err
		}
		for _, t := range found {
			content := shortened(t.content)
			if of[content] == nil {
				texts = append(texts, content)
			}
			of[content] = append(of[content], p.String())
		}
	}
	for _, t := range texts {
		if _, err := fmt.Fprintf(w, "\n%s\n\n%s\n", strings.Join(of[t], "\n"), t); err != nil {
			return err
		}
	}
	return nil
}

// shortened returns a text with the name of Apache's licence in its place.
func shortened(content string) string {
	for _, m := range slices.Backward(licensecheck.Scan([]byte(content)).Match) {
		if m.ID == apache && !m.IsURL && m.End-m.Start > 5000 {
			content = content[:m.Start] + apache + copyrights(content[m.Start:m.End]) + "\n" + content[m.End:]
		}
	}
	return strings.TrimSpace(content)
}

// copyrights returns the lines of a licence's text in which a part says whose it is.
func copyrights(content string) string {
	var lines strings.Builder
	for _, m := range notice.FindAllStringSubmatch(content, -1) {
		lines.WriteString("\n" + strings.TrimSpace(m[1]))
	}
	return lines.String()
}
