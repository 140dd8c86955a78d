package etcd

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"flanneld/pkg/logonce"
)

// passwordEvery is the longest time for which the file is not read again.
const passwordEvery = 5 * time.Second

// maxPassword bounds the file: bcrypt, which etcd keeps passwords with, takes 72
// bytes.
const maxPassword = 4096

// password is etcd's, which may lie in a file that changes. Safe for concurrent
// use.
type password struct {
	file string // empty: the password does not change
	log  *slog.Logger

	mu     sync.Mutex
	text   string
	looked time.Time
	failed logonce.Line
}

// value returns the password as it is in the file, or was a few seconds ago.
func (p *password) value() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.looked) >= passwordEvery {
		p.read()
	}
	return p.text
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
	if p.failed.ChangedError(err) && err != nil {
		p.log.Warn("Cannot read etcd's password again; going on with the one from before", "err", err)
	}
	if err != nil || text == p.text {
		return
	}
	p.text = text
	p.log.Info("The password for etcd has changed", "file", p.file)
}

// readPassword returns a file's content without the end of its line.
func readPassword(path string) (string, error) {
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
	return text, nil
}
