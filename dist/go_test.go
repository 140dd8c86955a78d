package dist_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGoIsFoundOrInstalled runs what the Makefile looks for Go with, on machines whose go,
// id and apt-get are shell scripts.
func TestGoIsFoundOrInstalled(t *testing.T) {
	const (
		old    = "echo go version go1.19.8 linux/amd64"
		newer  = "echo go version go1.23.5 linux/amd64"
		local  = "[ $PWD = / ] && echo go version go1.23.5 linux/amd64 || { echo 'go: go.mod requires go >= 1.26.0 (running go 1.23.5; GOTOOLCHAIN=local)' >&2; exit 1; }"
		gives  = "case \" $* \" in *' install '*) printf '#!/bin/sh\\n" + newer + "\\n' >$BIN/go; chmod 755 $BIN/go; echo does: $*;; esac"
		gives2 = "case \" $* \" in *' -t '*) exit 100;; esac; " + gives
		root   = "echo 0"
	)
	for name, row := range map[string]struct {
		goes, id, aptGet string // "": there is none
		fails            bool
		want             string
	}{
		"new enough":               {newer, root, "exit 9", false, ""},
		"a release of the future":  {"echo go version go1.100 linux/amd64", root, "exit 9", false, ""},
		"built from source":        {"echo go version devel go1.27-abcdef linux/amd64", root, "exit 9", false, ""},
		"may fetch nothing":        {local, root, "exit 9", true, "error: go.mod requires go >= 1.26.0 (running go 1.23.5; GOTOOLCHAIN=local)\nhint: GOTOOLCHAIN=local keeps Go"},
		"none":                     {"", root, gives, false, "there is no Go: installing golang-go"},
		"too old":                  {old, root, gives, false, "Go 1.19 is too old to fetch a newer one: installing golang-go"},
		"from backports":           {"", root, gives, false, "install -y --no-install-recommends -t "},
		"no backports":             {"", root, gives2, false, "does: install -q -y --no-install-recommends golang-go"},
		"no archive":               {old, root, "exit 100", true, "error: apt-get did not install golang-go (above is why)\nhint: install Go 1.21 or later"},
		"the release's is too old": {old, root, "exit 0", true, "error: Debian's newest Go here is 1.19"},
		"somebody else than root":  {old, "echo 1000", gives, true, "error: Go 1.19 is too old to fetch a newer one\nhint: install Go 1.21 or later: https://go.dev/dl/; or, as root: echo deb"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for program, text := range map[string]string{"go": row.goes, "id": row.id, "apt-get": row.aptGet} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("../.ci/go")
			cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "BIN=" + dir}
			out, err := cmd.CombinedOutput()
			if (err != nil) != row.fails || !strings.Contains(string(out), row.want) || row.want == "" && len(out) > 0 {
				t.Errorf("%v, want failure: %v, output with %q:\n%s", err, row.fails, row.want, out)
			}
		})
	}
}
