//go:build !no_etcd3

package main

import (
	"log/slog"

	"flanneld/subnet/etcd"
	"flanneld/subnet/etcd3"
	"flanneld/subnet/etcdapi"
)

// newV3 makes the store of etcd's v3 API.
func newV3(endpoints []string, prefix string, access etcd.Access, log *slog.Logger) (etcdapi.Store, error) {
	return etcd3.New(etcd3.Options{Endpoints: endpoints, Prefix: prefix, Access: access, Log: log})
}
