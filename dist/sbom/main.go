// Sbom prints what a package's Go programs were built from, as the programs themselves have
// it, in the format SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/):
//
//	sbom VERSION TIME PROGRAM...
//
// The first program names the document. The time is when they were built, in RFC 3339: the
// same arguments print the same.
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: sbom VERSION TIME PROGRAM...")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1], os.Args[2], os.Args[3:]...); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(w io.Writer, version, built string, programs ...string) error {
	at, err := time.Parse(time.RFC3339, built)
	if err != nil {
		return fmt.Errorf("read the time of the build: %w", err)
	}
	d := newDocument(filepath.Base(programs[0]), version, at.UTC())
	for _, path := range programs {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read what %s is built from: %w", path, err)
		}
		d.describe(filepath.Base(path), version, info)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(d)
}

// document, item and relation are the parts of SPDX that are used.
type document struct {
	Version   string     `json:"spdxVersion"`
	License   string     `json:"dataLicense"`
	ID        string     `json:"SPDXID"`
	Name      string     `json:"name"`
	Namespace string     `json:"documentNamespace"`
	Creation  creation   `json:"creationInfo"`
	Items     []item     `json:"packages"`
	Relations []relation `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type item struct {
	ID       string      `json:"SPDXID"`
	Name     string      `json:"name"`
	Version  string      `json:"versionInfo"`
	Location string      `json:"downloadLocation"`
	Analyzed bool        `json:"filesAnalyzed"`
	License  string      `json:"licenseConcluded"`
	Declared string      `json:"licenseDeclared"`
	Comment  string      `json:"comment,omitempty"`
	Refs     []reference `json:"externalRefs,omitempty"`
}

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relation struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	unknown = "NOASSERTION"
	self    = "SPDXRef-DOCUMENT"
)

func newDocument(name, version string, built time.Time) *document {
	return &document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: self, Name: name + "-" + version,
		Namespace: "https://spdx.org/spdxdocs/" + name + "-" + version,
		Creation:  creation{built.Format(time.RFC3339), []string{"Tool: " + name + "-sbom"}},
	}
}

// describe adds a program, and what it is built from: the Go release and each module, once
// where several programs have it.
func (d *document) describe(name, version string, info *debug.BuildInfo) {
	program := "SPDXRef-program-" + name
	d.Items = append(d.Items, item{ID: program, Name: name, Version: version, Location: unknown, License: "Apache-2.0", Declared: "Apache-2.0"})
	d.Relations = append(d.Relations, relation{self, "DESCRIBES", program})
	add := func(module, version, sum string) {
		at := slices.IndexFunc(d.Items, func(i item) bool { return i.Name == module && i.Version == version && i.Refs != nil })
		if at < 0 {
			at = len(d.Items)
			m := item{ID: fmt.Sprintf("SPDXRef-module-%d", at), Name: module, Version: version, Location: unknown, License: unknown, Declared: unknown,
				Refs: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + module + "@" + version}}}
			if sum != "" {
				m.Comment = "go.sum " + sum
			}
			d.Items = append(d.Items, m)
		}
		d.Relations = append(d.Relations, relation{program, "DEPENDS_ON", d.Items[at].ID})
	}
	add("std", strings.TrimPrefix(info.GoVersion, "go"), "")
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		add(m.Path, m.Version, m.Sum)
	}
}
