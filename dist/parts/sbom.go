package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// printSBOM prints the bill of materials of programs that were built together.
func printSBOM(w io.Writer, version, built string, programs []string) error {
	at, err := time.Parse(time.RFC3339, built)
	if err != nil {
		return fmt.Errorf("read the time of the build: %w", err)
	}
	dirs, err := findSources()
	if err != nil {
		return err
	}
	d := newDocument(filepath.Base(programs[0]), version, at.UTC())
	for _, path := range programs {
		parts, info, err := partsOf(path)
		if err != nil {
			return err
		}
		for _, s := range info.Settings {
			if s.Key == "GOARCH" && path == programs[0] { // what is built for another one is linked from other parts
				d.Namespace += "-" + s.Value
			}
		}
		if err := d.describe(filepath.Base(path), version, parts, dirs); err != nil {
			return err
		}
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
func (d *document) describe(name, version string, parts []part, dirs sources) error {
	program := "SPDXRef-program-" + name
	d.Items = append(d.Items, item{ID: program, Name: name, Version: version, Location: unknown, License: apache, Declared: apache})
	d.Relations = append(d.Relations, relation{self, "DESCRIBES", program})
	for _, p := range parts {
		at := slices.IndexFunc(d.Items, func(i item) bool { return i.Name == p.path && i.Version == p.version && i.Refs != nil })
		if at < 0 {
			at = len(d.Items)
			licence, err := dirs.licence(p)
			if err != nil {
				return err
			}
			m := item{ID: fmt.Sprintf("SPDXRef-module-%d", at), Name: p.path, Version: p.version, Location: unknown, License: licence, Declared: licence,
				Refs: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + p.path + "@" + p.version}}}
			if p.sum != "" {
				m.Comment = "go.sum " + p.sum
			}
			d.Items = append(d.Items, m)
		}
		d.Relations = append(d.Relations, relation{program, "DEPENDS_ON", d.Items[at].ID})
	}
	return nil
}

// licence returns the licences of a part, as SPDX writes them.
func (s sources) licence(p part) (string, error) {
	texts, err := s.texts(p)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, t := range texts {
		if t.licence != "" && !slices.Contains(ids, t.licence) {
			ids = append(ids, t.licence)
		}
	}
	if ids == nil {
		return unknown, nil
	}
	return strings.Join(ids, " AND "), nil
}
