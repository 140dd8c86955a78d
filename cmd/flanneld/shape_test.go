package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The shape that code without tests keeps, so that each part can be read at one go. What
// breaks a rule has too many ideas: find the second, and make it a type or functions.
const (
	maxFileLines   = 300
	maxFuncLines   = 60
	maxFields      = 15 // of a struct that holds a mutex, which guards too much then
	maxFilesOfType = 2  // in which a type and its methods are
)

func TestShape(t *testing.T) {
	packages := make(map[string]map[string]string) // by the directory and the file's name
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.ContainsAny(name[:1], "._"), d.IsDir() && name == "testdata":
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		source, err := fs.ReadFile(root, path)
		dir := filepath.Dir(path)
		if packages[dir] == nil {
			packages[dir] = make(map[string]string)
		}
		packages[dir][name] = string(source)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 20 {
		t.Fatalf("only %d packages", len(packages))
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		shapes, err := shapesOf(packages[dir])
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, s := range shapes {
			t.Errorf("%s %s: %s", dir, s.what, s.why)
		}
	}
}

// shape is a file, function or type that breaks a rule.
type shape struct{ what, why string }

// shapesOf returns what breaks a rule in a package, given its sources by file name.
func shapesOf(sources map[string]string) (bad []shape, err error) {
	set := token.NewFileSet()
	filesOf := make(map[string][]string) // by type
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		source := sources[name]
		if lines := strings.Count(source, "\n"); lines > maxFileLines {
			bad = append(bad, shape{name, fmt.Sprintf("the file has %d lines, more than %d", lines, maxFileLines)})
		}
		file, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		types := make(map[string]bool)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				function := n.Name.Name
				if n.Recv != nil {
					receiver := nameOf(n.Recv.List[0].Type)
					types[receiver] = true
					function = receiver + "." + function
				}
				if lines := set.Position(n.End()).Line - set.Position(n.Pos()).Line + 1; lines > maxFuncLines {
					bad = append(bad, shape{function, fmt.Sprintf("the function has %d lines, more than %d", lines, maxFuncLines)})
				}
				return false // types that are declared inside have no methods
			case *ast.TypeSpec:
				types[n.Name.Name] = true
				if s, ok := n.Type.(*ast.StructType); ok {
					if fields, mutex := fieldsOf(s); mutex && fields > maxFields {
						bad = append(bad, shape{n.Name.Name, fmt.Sprintf("the type holds a mutex and has %d fields, more than %d", fields, maxFields)})
					}
				}
			}
			return true
		})
		for typ := range types {
			filesOf[typ] = append(filesOf[typ], name)
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(filesOf)) {
		if files := filesOf[typ]; len(files) > maxFilesOfType {
			bad = append(bad, shape{typ, fmt.Sprintf("the type is in %d files, more than %d: %s", len(files), maxFilesOfType, strings.Join(files, ", "))})
		}
	}
	return bad, nil
}

// nameOf returns the name of a receiver's type.
func nameOf(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// fieldsOf counts fields, and says if one of them is a mutex.
func fieldsOf(s *ast.StructType) (fields int, mutex bool) {
	for _, f := range s.Fields.List {
		fields += max(1, len(f.Names))
		typ := f.Type
		if star, ok := typ.(*ast.StarExpr); ok {
			typ = star.X
		}
		if sel, ok := typ.(*ast.SelectorExpr); ok && (sel.Sel.Name == "Mutex" || sel.Sel.Name == "RWMutex") {
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "sync" {
				mutex = true
			}
		}
	}
	return fields, mutex
}

func TestShapesOf(t *testing.T) {
	fields := func(n int) string { return strings.Repeat("f, ", n-1) + "f int" }
	for _, row := range []struct {
		name string
		file map[string]string
		want string // what breaks a rule; empty: nothing does
	}{
		{"a file as long as may be", map[string]string{"a.go": "package a" + strings.Repeat("\n", 300)}, ""},
		{"a longer file", map[string]string{"a.go": "package a" + strings.Repeat("\n", 301)}, "a.go"},
		{"a function as long as may be", map[string]string{"a.go": "package a\nfunc f() {" + strings.Repeat("\n", 59) + "}"}, ""},
		{"a longer function", map[string]string{"a.go": "package a\nfunc f() {" + strings.Repeat("\n", 60) + "}"}, "f"},
		{"a longer method", map[string]string{"a.go": "package a\nfunc (t *T[A]) f() {" + strings.Repeat("\n", 60) + "}"}, "T.f"},
		{"a mutex among fifteen", map[string]string{"a.go": "package a\ntype T struct {\nsync.Mutex\n" + fields(14) + "}"}, ""},
		{"a mutex among sixteen", map[string]string{"a.go": "package a\ntype T struct {\nmu sync.RWMutex\n" + fields(15) + "}"}, "T"},
		{"sixteen without a mutex", map[string]string{"a.go": "package a\ntype T struct {\n" + fields(16) + "}"}, ""},
		{"a type in two files", map[string]string{"a.go": "package a\ntype T[A, B any] int", "b.go": "package a\nfunc (T[A, B]) f() {}"}, ""},
		{"a type in three files", map[string]string{"a.go": "package a\ntype T[A, B any] int", "b.go": "package a\nfunc (T[A, B]) f() {}",
			"c.go": "package a\nfunc (*T[A, B]) g() {}"}, "T"},
	} {
		bad, err := shapesOf(row.file)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		var what []string
		for _, s := range bad {
			what = append(what, s.what)
		}
		if got := strings.Join(what, ", "); got != row.want {
			t.Errorf("%s: %q breaks a rule, want %q", row.name, got, row.want)
		}
	}
}

// go build leaves a program in the directory where it is called, and git add -A takes it:
// from then on each clone has it.
func TestFilesAreNoPrograms(t *testing.T) {
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = "../.."
	list, err := cmd.Output()
	if err != nil {
		t.Skip("not a working tree of git: ", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		f, err := os.Open(filepath.Join("../..", name))
		if err != nil {
			continue // about to be removed
		}
		head := make([]byte, 4)
		n, _ := f.Read(head)
		_ = f.Close()
		if string(head[:n]) == "\x7fELF" {
			t.Errorf("%s is a program: git rm --cached it, and have .gitignore name it", name)
		}
	}
}
