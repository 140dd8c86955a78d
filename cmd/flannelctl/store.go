package main

import (
	"context"
	"log/slog"

	"flanneld/cmd/internal/options"
	"flanneld/subnet/etcd2"
	"flanneld/subnet/etcd3"
	"flanneld/subnet/etcdapi"
	"flanneld/subnet/etcdsrv"
	"flanneld/subnet/mirror"
)

// endpoints returns those of etcd, looked up if DNS has them.
func endpoints(ctx context.Context, o options.Etcd, log *slog.Logger) ([]string, error) {
	if o.SRV == "" {
		return o.Endpoints, nil
	}
	return (&etcdsrv.Finder{Domain: o.SRV, Secure: o.Secrets(), Log: log}).Endpoints(ctx, false)
}

// open returns the keyspace of one of etcd's APIs. Close it.
func open(api string, o options.Etcd, endpoints []string, log *slog.Logger) (side mirror.Side, closed func(), err error) {
	log = log.With("api", api)
	access, err := o.Credentials().Open(log)
	if err != nil {
		return side, nil, err
	}
	if api == options.APIv2 {
		s, err := etcd2.New(etcd2.Options{Endpoints: endpoints, Prefix: o.Prefix, Access: access, Log: log})
		return mirror.Side{Name: api, Store: s}, func() {}, err
	}
	s, err := etcd3.New(etcd3.Options{Endpoints: endpoints, Prefix: o.Prefix, Access: access, Log: log})
	if err != nil {
		return side, nil, err
	}
	return mirror.Side{Name: api, Store: s}, s.Close, nil
}

// openChoice returns the store of the API in which the network lies, if that is not known. Close it.
func openChoice(ctx context.Context, o options.Etcd, api etcdapi.API, log *slog.Logger) (*etcdapi.Choice, error) {
	if api == "" && o.API != options.APIAuto {
		api = etcdapi.API(o.API)
	}
	at, err := endpoints(ctx, o, log)
	if err != nil {
		return nil, err
	}
	access, err := o.Credentials().Open(log)
	if err != nil {
		return nil, err
	}
	v2, err := etcd2.New(etcd2.Options{Endpoints: at, Prefix: o.Prefix, Access: access, Log: log})
	if err != nil {
		return nil, err
	}
	v3, err := etcd3.New(etcd3.Options{Endpoints: at, Prefix: o.Prefix, Access: access, Log: log})
	if err != nil {
		return nil, err
	}
	return etcdapi.New(etcdapi.Options{V2: v2, V3: v3, API: api, Prefix: o.Prefix, Log: log}), nil
}
