package main

import (
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"
)

// aKey writes the two files of a key, the secret one with a password if one is given.
func aKey(t *testing.T, password string) (secret, public string) {
	t.Helper()
	pub, key, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.MarshalText()
	if password != "" {
		text, err = minisign.EncryptKey(password, key)
	}
	secret, public = filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "key.pub")
	open, textErr := pub.MarshalText()
	if err := errors.Join(err, textErr, os.WriteFile(secret, text, 0o600), os.WriteFile(public, open, 0o644)); err != nil {
		t.Fatal(err)
	}
	return secret, public
}

func TestASignatureHolds(t *testing.T) {
	for _, password := range []string{"", "open, please"} {
		secret, public := aKey(t, password)
		file := filepath.Join(t.TempDir(), "SHA256SUMS")
		if err := os.WriteFile(file, []byte("0123 file\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Setenv("MINISIGN_PASSWORD", password)
		if err := run(io.Discard, []string{"sign", secret, file, "1700000000"}); err != nil {
			t.Fatal(err)
		}
		if err := verify(t, public, file); err != nil {
			t.Errorf("password %q: %v", password, err)
		}
		if err := os.WriteFile(file, []byte("0123 File\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := verify(t, public, file); err == nil {
			t.Errorf("password %q: the signature holds for a file with another byte", password)
		}
	}
}

// verify asks the library and, if it is installed, minisign itself.
func verify(t *testing.T, public, file string) error {
	t.Helper()
	key, err := minisign.PublicKeyFromFile(public)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := os.ReadFile(file + ".minisig")
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if !minisign.Verify(key, data, signature) {
		failed = errors.New("the library says no")
	}
	if _, err := exec.LookPath("minisign"); err != nil {
		t.Log("minisign is not installed, and was not asked")
		return failed
	}
	out, err := exec.Command("minisign", "-V", "-p", public, "-m", file).CombinedOutput()
	if (err == nil) != (failed == nil) {
		t.Errorf("the library says %v, and minisign %v: %s", failed, err, out)
	}
	return failed
}

func TestAKeyWithAPassword(t *testing.T) {
	secret, _ := aKey(t, "open, please")
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]string{"": "MINISIGN_PASSWORD is not set", "another": "read the key " + secret} {
		t.Setenv("MINISIGN_PASSWORD", password)
		if err := run(io.Discard, []string{"sign", secret, file, "1"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("password %q: %v", password, err)
		}
	}
}
