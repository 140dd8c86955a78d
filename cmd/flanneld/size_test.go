package main

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSize builds the program as make build does, with etcd's v3 API and without: gRPC is
// most of the difference, and hosts that have no room for it must not get it by the way.
func TestSize(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	for _, row := range []struct {
		tags  string
		limit int64 // bytes
		grpc  bool
		says  string // of --etcd-api=v3
	}{
		{"", 24 << 20, true, ""},
		{"no_etcd3", 12 << 20, false, "this flanneld was built without etcd's v3 API (leave the build tag no_etcd3 out)"},
	} {
		t.Run("tags "+row.tags, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), "flanneld")
			build := exec.Command("go", "build", "-trimpath", "-tags", row.tags, "-ldflags", "-s -w", "-o", program, ".")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			info, err := os.Stat(program)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%.1f MB", float64(info.Size())/1e6)
			if info.Size() > row.limit {
				t.Errorf("it has %d bytes, more than %d", info.Size(), row.limit)
			}
			built, err := buildinfo.ReadFile(program)
			if err != nil {
				t.Fatal(err)
			}
			grpc := false
			for _, m := range built.Deps {
				grpc = grpc || m.Path == "google.golang.org/grpc"
			}
			if grpc != row.grpc {
				t.Errorf("it has gRPC: %v, want %v", grpc, row.grpc)
			}
			if row.says == "" {
				return
			}
			out, err := exec.Command(program, "--etcd-api=v3", "--state-dir="+t.TempDir()).CombinedOutput()
			if err == nil || !strings.Contains(string(out), row.says) {
				t.Errorf("--etcd-api=v3: %v, want %q:\n%s", err, row.says, out)
			}
		})
	}
}
