package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheDocumentedRolesAreTried holds the commands for users and roles in docs/etcd.md to
// the scripts, which run each of them.
func TestTheDocumentedRolesAreTried(t *testing.T) {
	text, err := os.ReadFile("../../docs/etcd.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Users and roles\n")
	section, _, _ = strings.Cut(section, "\n## ")
	tried := make(map[string]bool)
	for _, name := range []string{"etcd-role", "etcd-password"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		// Passwords are on the command line there.
		plain := strings.NewReplacer("[!v3] ", "", "[v3] ", "", "etcdctl3 --user root:hunter22 ", "etcdctl ", "etcdctl3 ", "etcdctl ", ":hunter22", "", ":hunter23", "").Replace(string(text))
		for line := range strings.Lines(plain) {
			tried[strings.TrimSpace(line)] = true
		}
	}
	documented := 0
	plain := strings.NewReplacer(`echo "$HOSTS" | `, "", `echo "$ROOT" | `, "", " --interactive=false", "", `--user "root:$ROOT" `, "",
		`"root:$ROOT"`, "root", `"host:$HOSTS"`, "host").Replace(section)
	for line := range strings.Lines(plain) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "etcdctl ") && !strings.HasPrefix(line, "etcdctl get ") {
			documented++
			if !tried[line] {
				t.Errorf("no script tries %q", line)
			}
		}
	}
	if documented < 10 {
		t.Errorf("%d commands were found", documented)
	}
}
