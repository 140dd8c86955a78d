package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"flanneld/pkg/reread"
)

// openPassword returns etcd's password, which may lie in a file that changes.
func (c Credentials) openPassword(log *slog.Logger) (*reread.Value[string], error) {
	file := c.File
	if file == "" && c.Credential != "" {
		switch _, err := os.Stat(c.Credential); {
		case err == nil:
			file = c.Credential
		case !errors.Is(err, fs.ErrNotExist): // systemd may have others for us, and not this one
			return nil, err
		}
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o004 != 0 {
		log.Warn("Every user of this host can read the file with etcd's password; chmod 600 it", "file", file)
	}
	return reread.Open([]string{file}, func(files []string) (string, error) {
		if file == "" {
			return c.Password, nil
		}
		text, err := parsePassword(files[0])
		if err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		return text, nil
	}, func(_ string, changed bool, err error) {
		if changed {
			log.Info("The password for etcd has changed", "file", file)
		}
		if err != nil {
			log.Warn("Cannot read etcd's password again; using the old one", "err", err)
		}
	})
}

// maxPassword bounds a password, in bytes: bcrypt, which etcd keeps passwords with,
// takes 72 of them.
const maxPassword = 4096

// parsePassword returns a file's content without the end of its line.
func parsePassword(file string) (string, error) {
	text := strings.TrimSuffix(strings.TrimSuffix(file, "\n"), "\r")
	switch {
	case len(text) > maxPassword:
		return "", errors.New("it is too long to be one")
	case text == "":
		return "", errors.New("it is empty")
	case strings.ContainsAny(text, "\n\x00"):
		return "", errors.New("it has more than one line")
	}
	return text, nil
}
