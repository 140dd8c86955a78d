package main

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFileForEtcdThatIsMissingIsSaidWithItsFlag(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for flag, o := range map[string]options{
		"--etcd-cafile":        {EtcdCAFile: missing},
		"--etcd-certfile":      {EtcdCertFile: missing, EtcdKeyFile: missing},
		"--etcd-password-file": {EtcdUsername: "host", EtcdPasswordFile: missing},
	} {
		_, err := openAccess(o, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v; want the file and the flag", flag, err)
		}
	}
}
