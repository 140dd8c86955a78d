package main

import (
	"fmt"
	"log/slog"

	"flanneld/backend"
	"flanneld/backend/alloc"
	"flanneld/backend/hostgw"
	"flanneld/backend/udp"
	"flanneld/backend/vxlan"
	"flanneld/subnet"
	"flanneld/subnet/etcd2"
)

type newBackend func(backend.Params) (backend.Backend, error)

// chooseBackend returns what makes the backend of a type.
func chooseBackend(typ string) (newBackend, error) {
	switch typ {
	case udp.Type:
		return func(p backend.Params) (backend.Backend, error) { return udp.New(p) }, nil
	case vxlan.Type:
		return func(p backend.Params) (backend.Backend, error) { return vxlan.New(p) }, nil
	case hostgw.Type:
		return func(p backend.Params) (backend.Backend, error) { return hostgw.New(p) }, nil
	case alloc.Type:
		return func(p backend.Params) (backend.Backend, error) { return alloc.New(p) }, nil
	}
	return nil, fmt.Errorf(`unknown backend type: %s (there are "udp", "vxlan", "host-gw" and "alloc")`, typ)
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
