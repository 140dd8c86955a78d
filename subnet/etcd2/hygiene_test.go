package etcd2

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The client's Sync takes the members' advertised URLs for the endpoints, which
// often are ones that only the member itself can reach.
func TestNobodySyncsTheClient(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		uses := false
		for _, i := range file.Imports {
			uses = uses || strings.Contains(i.Path.Value, "etcd/client/v2")
		}
		if !uses {
			return nil
		}
		files++
		if file, err = parser.ParseFile(set, path, nil, 0); err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && (s.Sel.Name == "Sync" || s.Sel.Name == "AutoSync") {
				t.Errorf("%s: %s", set.Position(s.Pos()), s.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil || files < 5 {
		t.Errorf("%d files looked at, %v", files, err)
	}
}

// What client/v2 asks for by itself, reflect2 1.0.1, crashes on Go 1.26 when a map
// is encoded.
func TestPinnedModules(t *testing.T) {
	t.Parallel()
	for module, version := range map[string]string{
		"go.etcd.io/etcd/client/v2": "v2.305.35", "github.com/json-iterator/go": "v1.1.12", "github.com/modern-go/reflect2": "v1.0.2",
	} {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", module).Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != version {
			t.Errorf("%s is %s, want %s: %v", module, got, version, err)
		}
	}
}
