package main

import (
	"fmt"
	"log/slog"

	"flanneld/backend"
	"flanneld/backend/alloc"
	"flanneld/backend/hostgw"
	"flanneld/backend/vxlan"
	"flanneld/subnet"
	"flanneld/subnet/etcd2"
)

// newBackend makes the backend of a type.
func newBackend(typ string, p backend.Params) (backend.Backend, error) {
	switch typ {
	case vxlan.Type:
		return vxlan.New(p)
	case hostgw.Type:
		return hostgw.New(p)
	case alloc.Type:
		return alloc.New(p)
	}
	return nil, unknownBackend(typ)
}

// knownBackend reports whether newBackend knows the type.
func knownBackend(typ string) error {
	switch typ {
	case vxlan.Type, hostgw.Type, alloc.Type:
		return nil
	}
	return unknownBackend(typ)
}

func unknownBackend(typ string) error {
	if typ == subnet.DefaultBackend {
		return fmt.Errorf(`the backend "udp", which is the default without a Backend, is not in this release yet: write "Backend":{"Type":"vxlan"} into the configuration`)
	}
	return fmt.Errorf(`unknown backend type: %s (there are "vxlan", "host-gw" and "alloc")`, typ)
}

// newStore makes the store that the flags name.
func newStore(o options, log *slog.Logger) (subnet.Store, error) {
	s, err := etcd2.New(etcd2.Options{
		Endpoints: o.EtcdEndpoints, Prefix: o.EtcdPrefix,
		Username: o.EtcdUsername, Password: string(o.EtcdPassword),
		CertFile: o.EtcdCertFile, KeyFile: o.EtcdKeyFile, CAFile: o.EtcdCAFile, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("Failed to create SubnetManager: %w", err)
	}
	return s, nil
}
