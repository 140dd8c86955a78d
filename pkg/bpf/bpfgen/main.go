// Program bpfgen compiles programs for the kernel, of one C file, with clang, and writes
// them as Go source for both byte orders, which is committed: who builds the daemon needs
// no clang.
package main

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/base64"
	"flag"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
)

// orders are the byte orders, and the architectures of Go that have them.
var orders = []struct{ target, suffix, tags string }{
	{"bpfel", "el", "386 || amd64 || arm || arm64 || loong64 || mips64le || mipsle || ppc64le || riscv64"},
	{"bpfeb", "eb", "mips || mips64 || ppc64 || s390x"},
}

// kinds are the sections' names, by what they make of a program.
var kinds = map[string]string{"socket": "BPF_PROG_TYPE_SOCKET_FILTER", "tc": "BPF_PROG_TYPE_SCHED_CLS"}

func main() {
	pkg := flag.String("package", os.Getenv("GOPACKAGE"), "the Go package's `name`")
	dir := flag.String("dir", ".", "the `directory` to write to")
	flag.Parse()
	for _, source := range flag.Args() {
		if err := generate(source, *pkg, *dir); err != nil {
			fmt.Fprintf(os.Stderr, "error: %s: %v\n", source, err)
			os.Exit(1)
		}
	}
}

// generate writes both files of a C file's programs.
func generate(source, pkg, dir string) error {
	sum, err := sumOf(source)
	if err != nil {
		return err
	}
	clang, err := compiler()
	if err != nil {
		return err
	}
	stamp := sum + ", " + clang
	base := strings.TrimSuffix(filepath.Base(source), ".c")
	for _, o := range orders {
		object := filepath.Join(dir, base+"_bpf"+o.suffix+".o")
		// Without that option, equal ends of branches that count become one, which adds what
		// differs to a pointer: the verifier refuses it to who lacks CAP_PERFMON.
		cmd := exec.Command("clang", "-O2", "-Wall", "-Wno-logical-op-parentheses", "-Werror", "-ffreestanding", "-target", o.target, "-mcpu=v1", "-mllvm", "-simplifycfg-sink-common=false", "-c", source, "-o", object)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("compile for %s: %w: %s", o.target, err, out)
		}
		programs, maps, err := read(object)
		_ = os.Remove(object)
		if err != nil {
			return fmt.Errorf("read what was compiled for %s: %w", o.target, err)
		}
		var b bytes.Buffer
		if err := template.Must(template.New(base).Parse(page)).Execute(&b, map[string]any{"Base": base, "Stamp": stamp, "Tags": o.tags, "Package": pkg, "Programs": programs, "Maps": maps}); err != nil {
			return err
		}
		text, err := format.Source(b.Bytes())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, base+"_bpf"+o.suffix+".go"), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sumOf returns what tells a C file and the headers that it includes from others.
func sumOf(source string) (string, error) {
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	hash.Write(text)
	for _, m := range regexp.MustCompile(`(?m)^#include "(.*)"$`).FindAllSubmatch(text, -1) {
		header, err := os.ReadFile(filepath.Join(filepath.Dir(source), string(m[1])))
		if err != nil {
			return "", err
		}
		hash.Write(header)
	}
	return fmt.Sprintf("source %x", hash.Sum(nil)[:8]), nil
}

// compiler returns which clang there is.
func compiler() (string, error) {
	version, err := exec.Command("clang", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask clang for its version: %w", err)
	}
	first, _, _ := strings.Cut(string(version), "\n")
	return first, nil
}

type (
	program struct {
		Name, Kind, Code string
		Maps             []reference
	}
	reference struct {
		At   uint64
		Name string
	}
	mapSpec struct {
		Name                            string
		Type, Key, Value, Entries, Flag uint32
	}
)

// read returns the programs and maps of an object: each section with code is a program.
func read(object string) (programs []program, maps []mapSpec, err error) {
	f, err := elf.Open(object)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return nil, nil, err
	}
	for _, s := range symbols {
		if int(s.Section) >= len(f.Sections) {
			continue
		}
		section := f.Sections[s.Section]
		data, err := section.Data()
		switch {
		case err != nil:
			return nil, nil, err
		case section.Name == "maps":
			m := mapSpec{Name: s.Name}
			for i, n := range []*uint32{&m.Type, &m.Key, &m.Value, &m.Entries, &m.Flag} {
				*n = f.ByteOrder.Uint32(data[s.Value:][4*i:])
			}
			maps = append(maps, m)
		case elf.ST_TYPE(s.Info) == elf.STT_FUNC:
			prefix, _, _ := strings.Cut(section.Name, "/")
			kind, ok := kinds[prefix]
			if !ok || s.Value != 0 || s.Size != section.Size {
				return nil, nil, fmt.Errorf("function %s: section %s is of no known kind, or has several functions", s.Name, section.Name)
			}
			references, err := referencesOf(f, section.Name, symbols)
			if err != nil {
				return nil, nil, err
			}
			programs = append(programs, program{s.Name, kind, base64.StdEncoding.EncodeToString(data), references})
		}
	}
	return programs, maps, nil
}

// referencesOf returns which instructions of a section take a map.
func referencesOf(f *elf.File, section string, symbols []elf.Symbol) (all []reference, err error) {
	const mapReference = 1 // R_BPF_64_64
	relocations := f.Section(".rel" + section)
	if relocations == nil {
		return nil, nil
	}
	data, err := relocations.Data()
	for ; err == nil && len(data) >= 16; data = data[16:] {
		at, info := f.ByteOrder.Uint64(data), f.ByteOrder.Uint64(data[8:])
		s := symbols[info>>32-1]
		if info&0xffffffff != mapReference || f.Sections[s.Section].Name != "maps" {
			return nil, fmt.Errorf("section %s refers to %s, which is no map", section, s.Name)
		}
		all = append(all, reference{at / 8, s.Name})
	}
	return all, err
}

// page is the Go source.
const page = `// Code generated by bpfgen from {{.Base}}.c ({{.Stamp}}); DO NOT EDIT.

//go:build {{.Tags}}

package {{.Package}}

import (
	"golang.org/x/sys/unix"

	"flanneld/pkg/bpf"
)
{{if .Maps}}
func {{.Base}}Maps() []bpf.MapSpec {
	return []bpf.MapSpec{
		{{- range .Maps}}
		{Name: "{{.Name}}", Kind: {{.Type}}, Key: {{.Key}}, Value: {{.Value}}, Entries: {{.Entries}}, Flags: {{.Flag}}},
		{{- end}}
	}
}
{{end}}
{{- range .Programs}}
func {{.Name}}Program() bpf.Program {
	return bpf.Program{
		Name: "{{.Name}}", Kind: unix.{{.Kind}},
		{{- if .Maps}}
		Maps: []bpf.Reference{ {{- range .Maps}}{At: {{.At}}, Map: "{{.Name}}"},{{end -}} },
		{{- end}}
		Code: "{{.Code}}",
	}
}
{{end}}`
