//go:build !no_etcd3

package main

import (
	"log/slog"

	"flanneld/subnet/etcd"
	"flanneld/subnet/etcd3"
	"flanneld/subnet/etcdapi"
)

// newV3 returns what makes stores of etcd's v3 API.
func newV3(prefix string, access etcd.Access, log *slog.Logger) opener {
	return func(endpoints []string) (etcdapi.Store, error) {
		return etcd3.New(etcd3.Options{Endpoints: endpoints, Prefix: prefix, Access: access, Log: log})
	}
}
