package main

import (
	"errors"
	"fmt"
	"log/slog"

	"flanneld/cmd/internal/options"
	"flanneld/subnet/config"
	"flanneld/subnet/etcd2"
	"flanneld/subnet/etcdapi"
	"flanneld/subnet/etcdsrv"
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
	access, err := o.Credentials().Open(log)
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
	var newV2 opener = func(endpoints []string) (etcdapi.Store, error) {
		return etcd2.New(etcd2.Options{Endpoints: endpoints, Prefix: o.Prefix, Access: access, Log: log})
	}
	newV3 := newV3(o.Prefix, access, log)
	if o.SRV != "" {
		finder := &etcdsrv.Finder{Domain: o.SRV, Secure: o.Secrets(), Log: log}
		newV2, newV3 = found(finder, newV2), found(finder, newV3)
	}
	if choice.V2, err = newV2(o.Endpoints); err != nil {
		return nil, err
	}
	if newV3 != nil {
		if choice.V3, err = newV3(o.Endpoints); err != nil {
			return nil, err
		}
	}
	if choice.V3 == nil && choice.API == etcdapi.V3 {
		return nil, errNoV3
	}
	return etcdapi.New(choice), nil
}

// documentReader reads the configuration in etcd as this daemon understands it.
func documentReader(store config.Source, log *slog.Logger) config.Reader {
	return config.Reader{Source: store, Accept: func(cfg config.Config) error { _, err := chooseBackend(cfg); return err }, Log: log}
}

// opener makes a store at endpoints.
type opener func(endpoints []string) (etcdapi.Store, error)

// found returns an opener of stores at the endpoints that a finder finds; nil for none.
func found(f *etcdsrv.Finder, open opener) opener {
	if open == nil {
		return nil
	}
	return func([]string) (etcdapi.Store, error) {
		return etcdsrv.New(f, func(endpoints []string) (etcdsrv.Inner, error) { return open(endpoints) }), nil
	}
}
