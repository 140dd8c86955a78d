package main

import (
	"errors"
	"flanneld/cmd/internal/options"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// passwordEvery is how old may be what is known of the password's file.
const passwordEvery = 5 * time.Second

// maxPassword bounds the file: bcrypt, which etcd keeps passwords with, takes 72
// bytes.
const maxPassword = 4096

// password is etcd's, which may lie in a file that changes. Safe for concurrent
// use.
type password struct {
	file string // empty: text is for ever
	log  *slog.Logger

	mu     sync.Mutex
	text   options.Secret
	looked time.Time
	failed string // why the file could not be read; empty: it could
}

// value returns the password, as it is in the file or was a few seconds ago.
func (p *password) value() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.looked) >= passwordEvery {
		p.read()
	}
	return string(p.text)
}

// look reads the file now.
func (p *password) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read()
}

// read keeps the old password if there is no new one.
func (p *password) read() {
	p.looked = time.Now()
	if p.file == "" {
		return
	}
	text, err := readPassword(p.file)
	switch {
	case err != nil && err.Error() != p.failed:
		p.failed = err.Error()
		p.log.Warn("Cannot read etcd's password again; going on with the one from before", "err", err)
	case err == nil:
		if text != p.text {
			p.log.Info("The password for etcd has changed", "file", p.file)
		}
		p.text, p.failed = text, ""
	}
}

// readPassword returns a file's content without the end of its line.
func readPassword(path string) (options.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read etcd's password: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case err != nil:
	case len(b) > maxPassword:
		err = errors.New("it is too long to be one")
	case text == "":
		err = errors.New("it is empty")
	case strings.ContainsAny(text, "\n\x00"):
		err = errors.New("it has more than one line")
	}
	if err != nil {
		return "", fmt.Errorf("read etcd's password in %s: %w", path, err)
	}
	return options.Secret(text), nil
}
