package main

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"flanneld/cmd/internal/options"
)

func TestAFileForEtcdThatIsMissingIsSaidWithItsFlag(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for flag, o := range map[string]options.Daemon{
		"--etcd-cafile":        {Etcd: options.Etcd{CAFile: missing}},
		"--etcd-certfile":      {Etcd: options.Etcd{CertFile: missing, KeyFile: missing}},
		"--etcd-password-file": {Etcd: options.Etcd{Username: "host", PasswordFile: missing}},
	} {
		_, err := openAccess(o, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v; want the file and the flag", flag, err)
		}
	}
}
