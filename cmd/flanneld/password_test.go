package main

import (
	"os"
	"path/filepath"
	"testing"

	"flanneld/cmd/internal/options"
)

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPasswordComesFromOnePlace(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "file"), "of a file\n")
	writeFile(t, filepath.Join(dir, "etcd-password"), "of systemd\r\n")
	bare := t.TempDir() // with other credentials only
	for _, tt := range []struct {
		name      string
		args, env []string
		want      string
	}{
		{"flag before all", []string{"--etcd-password=of a flag", "--etcd-password-file=" + file}, []string{"FLANNELD_ETCD_PASSWORD=of a variable", "CREDENTIALS_DIRECTORY=" + dir}, "of a flag"},
		{"variable before the file", []string{"--etcd-password-file=" + file}, []string{"FLANNELD_ETCD_PASSWORD=of a variable", "CREDENTIALS_DIRECTORY=" + dir}, "of a variable"},
		{"file before the credential", []string{"--etcd-password-file=" + file}, []string{"CREDENTIALS_DIRECTORY=" + dir}, "of a file"},
		{"file of a variable", nil, []string{"FLANNELD_ETCD_PASSWORD_FILE=" + file}, "of a file"},
		{"credential", nil, []string{"CREDENTIALS_DIRECTORY=" + dir}, "of systemd"},
		{"no such credential", nil, []string{"CREDENTIALS_DIRECTORY=" + bare}, ""},
		{"none", nil, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, _, err := options.Parse(append(tt.args, "--etcd-username=u"), tt.env)
			if err != nil {
				t.Fatal(err)
			}
			a, err := o.Etcd.Credentials().Open(discard)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.Password(); got != tt.want {
				t.Errorf("password %q, want %q", got, tt.want)
			}
		})
	}
}
