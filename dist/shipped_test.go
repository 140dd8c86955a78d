package dist_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shipped returns where a package puts files of the root of this tree, and which.
func shipped(t *testing.T, name string) map[string]string {
	t.Helper()
	text, err := os.ReadFile("package/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, m := range regexp.MustCompile(`\{src: "?\.\./\.\./([^",]+)"?, dst: ([^,]+),`).FindAllStringSubmatch(string(text), -1) {
		from, _ := filepath.Glob("../" + m[1])
		if len(from) == 0 {
			t.Errorf("%s: there is no %s", name, m[1])
		}
		for _, file := range from {
			to := m[2]
			if strings.HasSuffix(to, "/") {
				to += filepath.Base(file)
			}
			all[to] = file
		}
	}
	return all
}

// TestLinksInPackages follows links and pictures of the documents from where a package puts
// them: what they lead to must be in the package, too.
func TestLinksInPackages(t *testing.T) {
	for _, name := range []string{"flanneld", "flannel-etcd"} {
		all := shipped(t, name)
		there := map[string]bool{}
		for to := range all {
			for ; to != "/"; to = filepath.Dir(to) {
				there[to] = true
			}
		}
		followed := 0
		for to, from := range all {
			if filepath.Ext(to) != ".md" {
				continue
			}
			for _, m := range inline.FindAllStringSubmatch(prose(t, from), -1) {
				path, _, _ := strings.Cut(m[1], "#")
				if path == "" || strings.Contains(path, "://") {
					continue
				}
				followed++
				if !there[filepath.Join(filepath.Dir(to), path)] {
					t.Errorf("%s: %s: %s is not in the package", name, to, path)
				}
			}
		}
		if followed < 30 {
			t.Errorf("%s: found %d links in %d files", name, followed, len(all))
		}
	}
}
