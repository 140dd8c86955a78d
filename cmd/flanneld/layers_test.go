package main

import (
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layers says which packages may not know of which, and why. Each path stands
// for itself and all below it. A package may always use its own part: the tree
// below the second element of its path, such as pkg/datapath, or below the third
// in cmd/internal. The first rule that fits decides.
var layers = []struct {
	from, to string
	except   []string // packages under to that are allowed, each without those below it
	why      string
}{
	{"pkg", "cmd", nil, "commands are put together from packages, not the other way round"},
	{"pkg", "subnet", nil, "what is in pkg reads as if it were published: it knows no leases"},
	{"pkg", "backend", nil, "what is in pkg reads as if it were published: it knows no backends"},

	{"subnet", "cmd", nil, "commands are put together from packages, not the other way round"},
	{"subnet", "backend", nil, "which host has which subnet does not depend on how packets get there"},
	{"subnet/config", "subnet", nil, "the document can be read without knowing what a lease is"},
	{"subnet/tenant", "subnet", []string{"subnet", "subnet/config", "subnet/node", "subnet/cache"},
		"a tenant holds its lease in whatever store"},
	{"subnet", "subnet", []string{"subnet", "subnet/config", "subnet/wire", "subnet/etcd"},
		"stores share the lease, how it is spelled and how etcd is reached; they do not know each other"},

	{"backend", "cmd", nil, "commands are put together from packages, not the other way round"},
	{"backend", "subnet", []string{"subnet", "subnet/config"}, "a backend sees claims, whatever store they lie in"},
	{"backend", "backend", []string{"backend"}, "backends do not know each other, so that one can be left out"},

	{"cmd/internal", "subnet/etcd2", nil, "which stores there are is known where the program is composed"},
	{"cmd/internal", "subnet/etcd3", nil, "which stores there are is known where the program is composed"},
	{"cmd/internal", "subnet/memstore", nil, "which stores there are is known where the program is composed"},
	{"cmd/internal", "backend", []string{"backend", "backend/loop", "backend/firewall", "backend/underlay"},
		"which backends there are is known where the program is composed"},
}

// byFile says which packages only some files of a package may import, and why.
var byFile = []struct {
	dir     string
	imports []string // each stands for itself and all below it
	only    string   // the file that may
	why     string
}{
	{"cmd/flanneld", []string{"backend/udp", "backend/vxlan", "backend/hostgw", "backend/alloc", "pkg/datapath"}, "compose.go",
		"backends are chosen in one place; everything else works with any"},
	{"cmd/flanneld", []string{"subnet/etcd2"}, "compose_store.go", "stores are chosen in one place; everything else works with any"},
	{"cmd/flanneld", []string{"subnet/etcd3"}, "compose_etcd3.go", "a build tag leaves this store out, and gRPC with it"},
	{"cmd/flannelctl", []string{"backend/udp", "backend/vxlan", "backend/hostgw", "backend/alloc"}, "backends.go",
		"backends are chosen in one place; everything else works with any"},
	{"cmd/flannelctl", []string{"subnet/etcd2", "subnet/etcd3"}, "store.go", "commands work with any store"},
}

// misplaced returns the rule that the import of a package in a file breaks, if any.
func misplaced(dir, file, imported string) string {
	for _, r := range byFile {
		if dir == r.dir && file != r.only && slices.ContainsFunc(r.imports, func(p string) bool { return under(imported, p) }) {
			return "only " + r.only + " may: " + r.why
		}
	}
	return ""
}

// forbidden returns why the package from may not depend on the package to, or
// nothing if it may. Paths are relative to the module.
func forbidden(from, to string) string {
	if part(from) == part(to) {
		return ""
	}
	for _, l := range layers {
		if under(from, l.from) && under(to, l.to) {
			if slices.Contains(l.except, to) {
				return ""
			}
			return l.why
		}
	}
	return ""
}

func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// part returns the path's first two elements, and three in cmd/internal.
func part(path string) string {
	n := 2
	if under(path, "cmd/internal") {
		n = 3
	}
	elements := strings.SplitN(path, "/", n+1)
	return strings.Join(elements[:min(n, len(elements))], "/")
}

func TestLayers(t *testing.T) {
	const module = "flanneld"
	// One line per package: its path and all it depends on, however far away.
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Deps " "}}`, module+"/...").CombinedOutput()
	if err != nil {
		t.Fatalf("list packages: %v\n%s", err, out)
	}
	var packages int
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		from := strings.TrimPrefix(fields[0], module+"/")
		packages++
		for _, dep := range fields[1:] {
			to, ours := strings.CutPrefix(dep, module+"/")
			if !ours {
				continue
			}
			if why := forbidden(from, to); why != "" {
				t.Errorf("%s depends on %s: %s", from, to, why)
			}
		}
	}
	if packages < 10 {
		t.Errorf("only %d packages listed:\n%s", packages, out)
	}
}

func TestFilesImportOnlyTheirs(t *testing.T) {
	seen := 0
	for _, r := range byFile {
		files, err := filepath.Glob("../../" + r.dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			tree, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range tree.Imports {
				imported := strings.TrimPrefix(strings.Trim(i.Path.Value, `"`), "flanneld/")
				if why := misplaced(r.dir, filepath.Base(f), imported); why != "" {
					t.Errorf("%s imports %s: %s", f, imported, why)
				}
				seen++
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d imports were looked at", seen)
	}
	if misplaced("cmd/flanneld", "main.go", "backend/udp/engine") == "" || misplaced("cmd/flanneld", "compose.go", "backend/udp") != "" {
		t.Error("main.go may import a backend, or compose.go may not")
	}
}

func TestLayersForbid(t *testing.T) {
	for _, row := range []struct {
		from, to string
		want     bool
	}{
		{"backend/vxlan", "backend", false},
		{"backend/vxlan", "subnet", false},
		{"backend/vxlan", "pkg/datapath/kernel", false},
		{"backend/vxlan", "backend/hostgw", true},
		{"backend/vxlan", "subnet/etcd2", true},
		{"backend", "backend/vxlan", true},
		{"backend", "subnet/wire", true},
		{"subnet", "pkg/backoff", false},
		{"subnet", "pkg/datapath", false},
		{"subnet", "subnet/config", false},
		{"subnet", "subnet/etcd2", true},
		{"subnet/config", "subnet", true},
		{"subnet/tenant", "subnet/cache", false},
		{"subnet/tenant", "subnet/etcd2", true},
		{"subnet/etcd2", "subnet/etcd", false},
		{"subnet", "backend", true},
		{"subnet/etcd2", "subnet/wire", false},
		{"subnet/etcd2", "subnet/memstore", true},
		{"pkg/datapath/kernel", "pkg/datapath", false},
		{"pkg/netif", "pkg/datapath", false},
		{"pkg/netif", "subnet", true},
		{"subnetwork", "backend", false},
		{"cmd/flanneld", "subnet/etcd2", false},
		{"cmd/internal/boot", "subnet/etcd2", true},
		{"cmd/internal/boot", "subnet/etcdapi", false},
		{"subnet/etcdapi", "subnet/etcd3", true},
		{"subnet/tenant", "subnet/etcdapi", true},
		{"cmd/internal/boot", "subnet/cache", false},
		{"cmd/internal/status", "backend/vxlan", true},
		{"cmd/internal/status", "backend/loop", false},
	} {
		if why := forbidden(row.from, row.to); (why != "") != row.want {
			t.Errorf("forbidden(%q, %q) = %q, want a reason: %v", row.from, row.to, why, row.want)
		}
	}
}
