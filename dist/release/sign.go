package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"aead.dev/minisign"
)

// sign writes the signature of a file beside it, as FILE.minisig.
func sign(key, password, file string, at time.Time) error {
	text, err := os.ReadFile(key)
	if err != nil {
		return fmt.Errorf("read the key: %w", err)
	}
	private, err := readKey(text, password)
	if err != nil {
		return fmt.Errorf("read the key %s: %w", key, err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	trusted := fmt.Sprintf("timestamp:%d\tfile:%s", at.Unix(), filepath.Base(file))
	return os.WriteFile(file+".minisig", minisign.SignWithComments(private, data, trusted, "signature of a release of flanneld"), 0o644)
}

func readKey(text []byte, password string) (minisign.PrivateKey, error) {
	var key minisign.PrivateKey
	if !minisign.IsEncrypted(text) {
		return key, key.UnmarshalText(text)
	}
	if password == "" {
		return key, errors.New("it has a password, and MINISIGN_PASSWORD is not set")
	}
	return minisign.DecryptKey(password, text)
}
