package main

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"flanneld/backend"
	"flanneld/backend/alloc"
	"flanneld/backend/hostgw"
	"flanneld/backend/udp"
	"flanneld/backend/vxlan"
	"flanneld/cmd/internal/options"
	"flanneld/pkg/tlsfile"
	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/etcd"
	"flanneld/subnet/etcd2"
)

// changesNetwork reports whether a backend of the type must change this host's
// network to do anything at all.
func changesNetwork(typ string) bool { return typ != alloc.Type }

// chooseBackend returns what makes the configuration's backend. The error is a
// *config.Error if there is none of its type, or if its options are not
// ones that it can work with.
func chooseBackend(cfg config.Config) (backend.New, error) {
	configure, ok := map[string]func(json.RawMessage) (backend.New, error){
		udp.Type: udp.Configure, vxlan.Type: vxlan.Configure, hostgw.Type: hostgw.Configure, alloc.Type: alloc.Configure,
	}[cfg.Type]
	if !ok {
		return nil, cfg.Locate(noBackend(cfg))
	}
	newBackend, err := configure(cfg.Backend)
	if err != nil {
		return nil, cfg.Locate(err)
	}
	return newBackend, nil
}

func noBackend(cfg config.Config) error {
	return config.OptionError(cfg.Backend, "Type", "unknown backend type: "+cfg.Type, `there are "udp", "vxlan", "host-gw" and "alloc"`)
}

// documentReader reads the configuration in etcd as this daemon understands it.
func documentReader(store config.Source, prefix string, log *slog.Logger) config.Reader {
	key := etcd2.ConfigKey(prefix)
	return config.Reader{
		Source: store,
		Accept: func(cfg config.Config) error {
			_, err := chooseBackend(cfg)
			return err
		},
		Missing: "etcd's v2 API has none at " + key,
		Remedy:  "write one, through etcd's v2 API: ETCDCTL_API=2 etcdctl mk " + key + ` '{"Network": "10.100.0.0/16"}'`,
		Log:     log,
	}
}

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
