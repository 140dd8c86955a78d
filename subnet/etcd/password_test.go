package etcd

import (
	"bytes"
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

func TestPasswordFilesThatHoldNone(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"empty": "", "a blank line": "\n", "two lines": "secret\nsecret\n", "too long": strings.Repeat("secret", 1000), "a zero byte": "secret\x00",
	} {
		path := writeFile(t, filepath.Join(dir, "p"), text)
		_, err := Credentials{File: path}.openPassword(slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (Credentials{File: filepath.Join(dir, "missing")}).openPassword(slog.New(slog.DiscardHandler)); err == nil {
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
		p, err := Credentials{File: path}.openPassword(slog.New(slog.NewTextHandler(&logs, nil)))
		if err != nil {
			t.Fatal(err)
		}
		want := func(text string) {
			t.Helper()
			if got := p.Get(); got != text {
				t.Errorf("password %q, want %q", got, text)
			}
		}
		want("one")
		writeFile(t, path, "two")
		p.Look() // as after a refusal
		want("two")
		writeFile(t, path, "three")
		want("two") // files are not read for each request
		time.Sleep(6 * time.Second)
		want("three")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(6 * time.Second)
			want("three")
		}
		writeFile(t, path, "four")
		time.Sleep(6 * time.Second)
		want("four")
		for text, n := range map[string]int{"has changed": 3, "Cannot read etcd's password": 1, "Every user of this host": 1, "two": 0, "three": 0, "four": 0} {
			if got := strings.Count(logs.String(), text); got != n {
				t.Errorf("%d lines with %q, want %d:\n%s", got, text, n, &logs)
			}
		}
	})
}

func FuzzPassword(f *testing.F) {
	f.Add([]byte("secret\r\n"))
	f.Add([]byte("two\nlines"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parsePassword(string(data)); err == nil && (s == "" || strings.Contains(s, "\n") || !bytes.HasPrefix(data, []byte(s))) {
			t.Errorf("%q has the password %q", data, s)
		}
	})
}
