package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"flanneld/cmd/internal/options"
	"flanneld/pkg/tlsfile"
)

// access is what etcd is shown of who we are.
type access struct {
	tls      *tlsfile.Source // nil: no files were named
	password *password       // nil: no user was named
}

// openAccess reads the files that the options name.
func openAccess(o options.Daemon, log *slog.Logger) (access, error) {
	var a access
	var err error
	files := tlsfile.Files{Cert: o.Etcd.CertFile, Key: o.Etcd.KeyFile, CA: o.Etcd.CAFile}
	if files != (tlsfile.Files{}) {
		if a.tls, err = tlsfile.Open(files, log); err != nil {
			return access{}, fmt.Errorf("%w (check --etcd-cafile, --etcd-certfile and --etcd-keyfile)", err)
		}
	}
	if o.Etcd.Username == "" {
		return a, nil
	}
	if a.password, err = openPassword(o, log); err != nil {
		return access{}, fmt.Errorf("%w (check --etcd-password-file or, without it, LoadCredential=etcd-password: in the unit)", err)
	}
	return a, nil
}

// look reads what can change again.
func (a access) look() {
	if a.tls != nil {
		a.tls.Look()
	}
	if a.password != nil {
		a.password.look()
	}
}

func openPassword(o options.Daemon, log *slog.Logger) (*password, error) {
	p := &password{log: log, text: o.Etcd.Password, file: o.Etcd.PasswordFile}
	if p.file == "" && o.Etcd.Credential != "" {
		switch _, err := os.Stat(o.Etcd.Credential); {
		case err == nil:
			p.file = o.Etcd.Credential
		case !errors.Is(err, fs.ErrNotExist): // systemd has others for us, and not this one
			return nil, err
		}
	}
	if p.file == "" {
		return p, nil
	}
	if info, err := os.Stat(p.file); err == nil && info.Mode().Perm()&0o004 != 0 {
		log.Warn("Every user of this host can read the file with etcd's password; chmod 600 it", "file", p.file)
	}
	var err error
	p.text, err = readPassword(p.file)
	return p, err
}
