package etcd3

import (
	"testing"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/storetest"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// Each host has connections of its own.
func TestHerd(t *testing.T) {
	url := etcdproc.Start(t)
	storetest.Herd(t, func() subnet.Store {
		return newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/herd/network"}, defaults(0))
	}, 30*time.Second)
}
