package etcd

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"flanneld/pkg/tlsfile"
)

func TestAFileForEtcdThatIsMissingIsSaidWithItsFlag(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for flag, o := range map[string]Credentials{
		"--etcd-cafile":        {TLS: tlsfile.Files{CA: missing}},
		"--etcd-certfile":      {TLS: tlsfile.Files{Cert: missing, Key: missing}},
		"--etcd-password-file": {Username: "host", File: missing},
	} {
		_, err := o.Open(slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), flag) || strings.Contains(err.Error(), "cafile") != (flag == "--etcd-cafile") {
			t.Errorf("%s: %v; want the file and its flag alone", flag, err)
		}
	}
}
