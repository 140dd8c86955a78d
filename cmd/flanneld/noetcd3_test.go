package main

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestWithoutV3 builds the program for hosts that have no room for gRPC. How large it is,
// make sizes looks at.
func TestWithoutV3(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	program := filepath.Join(t.TempDir(), "flanneld")
	build := exec.Command("go", "build", "-tags", "no_etcd3", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	built, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range built.Deps {
		if m.Path == "google.golang.org/grpc" {
			t.Error("it has gRPC: something imports that without the tag")
		}
	}
	const want = "this flanneld was built without etcd's v3 API (leave the build tag no_etcd3 out)"
	out, err := exec.Command(program, "--etcd-api=v3", "--state-dir="+t.TempDir()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("--etcd-api=v3: %v, want %q:\n%s", err, want, out)
	}
}
