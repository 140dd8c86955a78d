package main

import (
	"errors"
	"fmt"
	"log/slog"

	"flanneld/cmd/internal/options"
	"flanneld/pkg/tlsfile"
	"flanneld/subnet/etcd"
	"flanneld/subnet/etcd2"
	"flanneld/subnet/etcdapi"
)

// errNoV3 ends a start of a program that was built with the tag no_etcd3.
var errNoV3 = errors.New("--etcd-api=v3: this flanneld was built without etcd's v3 API (leave the build tag no_etcd3 out)")

// newStore makes the store that the flags name. Last is the API that this host ran on
// before; empty: it did not run.
func newStore(o options.Etcd, last etcdapi.API, log *slog.Logger) (*etcdapi.Choice, error) {
	c, err := makeStore(o, last, log)
	if err != nil {
		return nil, fmt.Errorf("Failed to create SubnetManager: %w", err)
	}
	return c, nil
}

func makeStore(o options.Etcd, last etcdapi.API, log *slog.Logger) (*etcdapi.Choice, error) {
	access, err := credentials(o).Open(log)
	if err != nil {
		return nil, err
	}
	choice := etcdapi.Options{Last: last, Prefix: o.Prefix, Log: log}
	if o.API != options.APIAuto {
		choice.API = etcdapi.API(o.API)
	}
	if o.TLSUnused() {
		choice.RefusedV3 = errors.New("the network lies in etcd's v3 API, and the TLS files have no effect on endpoints with http:// (" + options.TLSHint + ")")
	}
	if choice.V2, err = etcd2.New(etcd2.Options{Endpoints: o.Endpoints, Prefix: o.Prefix, Access: access, Log: log}); err != nil {
		return nil, err
	}
	if choice.V3, err = newV3(o.Endpoints, o.Prefix, access, log); err != nil {
		return nil, err
	}
	if choice.V3 == nil && choice.API == etcdapi.V3 {
		return nil, errNoV3
	}
	return etcdapi.New(choice), nil
}

func credentials(o options.Etcd) etcd.Credentials {
	return etcd.Credentials{TLS: tlsfile.Files{Cert: o.CertFile, Key: o.KeyFile, CA: o.CAFile},
		Username: o.Username, Password: string(o.Password), File: o.PasswordFile, Credential: o.Credential, Proxy: o.Proxy}
}
