package main

import (
	"bytes"
	"flanneld/cmd/internal/options"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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
			a, err := openAccess(o, discard)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.password.value(); got != tt.want {
				t.Errorf("password %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPasswordFilesThatHoldNone(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"empty": "", "a blank line": "\n", "two lines": "secret\nsecret\n", "too long": strings.Repeat("secret", 1000), "a zero byte": "secret\x00",
	} {
		path := writeFile(t, filepath.Join(dir, "p"), text)
		_, err := openPassword(options.Daemon{Etcd: options.Etcd{PasswordFile: path}}, discard)
		if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := openPassword(options.Daemon{Etcd: options.Etcd{PasswordFile: filepath.Join(dir, "missing")}}, discard); err == nil {
		t.Error("a missing file is a password")
	}
}

func TestPasswordFollowsItsFile(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "p"), "one\n")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		p, err := openPassword(options.Daemon{Etcd: options.Etcd{PasswordFile: path}}, slog.New(slog.NewTextHandler(&logs, nil)))
		if err != nil {
			t.Fatal(err)
		}
		want := func(text string) {
			t.Helper()
			if got := p.value(); got != text {
				t.Errorf("password %q, want %q", got, text)
			}
		}
		want("one")
		writeFile(t, path, "two")
		p.look() // as after a refusal
		want("two")
		writeFile(t, path, "three")
		want("two") // files are not read for each request
		time.Sleep(passwordEvery)
		want("three")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(passwordEvery)
			want("three")
		}
		writeFile(t, path, "four")
		time.Sleep(passwordEvery)
		want("four")
		for text, n := range map[string]int{"has changed": 3, "Cannot read etcd's password": 1, "Every user of this host": 1, "two": 0, "three": 0, "four": 0} {
			if got := strings.Count(logs.String(), text); got != n {
				t.Errorf("%d lines with %q, want %d:\n%s", got, text, n, &logs)
			}
		}
	})
}
