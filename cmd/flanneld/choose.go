package main

import (
	"fmt"
	"log/slog"

	"flanneld/cmd/internal/options"
	"flanneld/pkg/tlsfile"
	"flanneld/subnet"
	"flanneld/subnet/etcd"
	"flanneld/subnet/etcd2"
)

// remote is a store somewhere in the network.
type remote interface {
	subnet.Store
	Moved() // the host has lost an address
}

// newStore makes the store that the flags name.
func newStore(o options.Daemon, log *slog.Logger) (remote, error) {
	fail := func(err error) (remote, error) {
		return nil, fmt.Errorf("Failed to create SubnetManager: %w", err)
	}
	access, err := credentials(o.Etcd).Open(log)
	if err != nil {
		return fail(err)
	}
	s, err := etcd2.New(etcd2.Options{Endpoints: o.Etcd.Endpoints, Prefix: o.Etcd.Prefix, Access: access, Log: log})
	if err != nil {
		return fail(err)
	}
	return s, nil
}

func credentials(o options.Etcd) etcd.Credentials {
	return etcd.Credentials{
		TLS:      tlsfile.Files{Cert: o.CertFile, Key: o.KeyFile, CA: o.CAFile},
		Username: o.Username, Password: string(o.Password), File: o.PasswordFile, Credential: o.Credential,
	}
}
