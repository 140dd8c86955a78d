// Sbom prints what a Go program was built from, as the program itself has it, in
// the format SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/):
//
//	sbom PROGRAM VERSION TIME
//
// The time is when it was built, in RFC 3339: the same arguments print the same.
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: sbom PROGRAM VERSION TIME")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(w io.Writer, path, version, built string) error {
	at, err := time.Parse(time.RFC3339, built)
	if err != nil {
		return fmt.Errorf("read the time of the build: %w", err)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read what %s is built from: %w", path, err)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(describe(filepath.Base(path), version, at.UTC(), info))
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
	program = "SPDXRef-program"
)

// describe lists the program, the Go release and each module.
func describe(name, version string, built time.Time, info *debug.BuildInfo) document {
	d := document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: self, Name: name + "-" + version,
		Namespace: "https://spdx.org/spdxdocs/" + name + "-" + version,
		Creation:  creation{built.Format(time.RFC3339), []string{"Tool: " + name + "-sbom"}},
		Items:     []item{{ID: program, Name: name, Version: version, Location: unknown, License: "Apache-2.0", Declared: "Apache-2.0"}},
		Relations: []relation{{self, "DESCRIBES", program}},
	}
	add := func(module, version, sum string) {
		id := fmt.Sprintf("SPDXRef-module-%d", len(d.Items))
		m := item{ID: id, Name: module, Version: version, Location: unknown, License: unknown, Declared: unknown,
			Refs: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + module + "@" + version}}}
		if sum != "" {
			m.Comment = "go.sum " + sum
		}
		d.Items = append(d.Items, m)
		d.Relations = append(d.Relations, relation{program, "DEPENDS_ON", id})
	}
	add("std", strings.TrimPrefix(info.GoVersion, "go"), "")
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		add(m.Path, m.Version, m.Sum)
	}
	return d
}
