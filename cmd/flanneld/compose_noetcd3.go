//go:build no_etcd3

package main

import (
	"log/slog"

	"flanneld/subnet/etcd"
)

// newV3 returns nil: this program has no gRPC, and little more than half of the size.
func newV3(string, etcd.Access, *slog.Logger) opener { return nil }
