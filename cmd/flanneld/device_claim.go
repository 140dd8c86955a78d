package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"flanneld/backend"
	"flanneld/backend/underlay"
	"flanneld/pkg/datapath"
)

// maxAlias bounds an alias, in bytes (IFALIASZ and its final zero).
const maxAlias = 255

// aliasFor returns the alias of the devices of the network below an etcd prefix. Of one
// that is too long there is the beginning, and what tells it from others.
func aliasFor(etcdPrefix string) string {
	alias := underlay.AliasPrefix + etcdPrefix
	if len(alias) <= maxAlias {
		return alias
	}
	sum := sha256.Sum256([]byte(etcdPrefix))
	mark := " " + hex.EncodeToString(sum[:4])
	return alias[:maxAlias-len(mark)] + mark
}

// claimDevice makes the backend's device this process's until release is called. It is
// an error if the device is that of another network, whose daemon runs: each would make
// it its own again and again. Whose daemon does not run has left it, and is none.
//
// The claim is an abstract socket (unix(7)), whose name is one of the network
// namespace as the device's is, and goes with the process. As anybody can have it, it
// proves nothing without the device's alias.
func claimDevice(ctx context.Context, be backend.Backend, kern datapath.Kernel, owner string) (release func(), err error) {
	tunnel, ok := be.(interface{ Device() string }) // of a fixed name
	if !ok {
		return func() {}, nil
	}
	device := tunnel.Device()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("claim interface %s: %w", device, err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: "@flanneld " + device})
	if !errors.Is(err, unix.EADDRINUSE) {
		return func() { _ = unix.Close(fd) }, nil // if it failed otherwise nobody knows, and nobody is hindered
	}
	_ = unix.Close(fd)
	have, err := kern.Read(ctx, datapath.Scope{Links: []string{device}})
	if err != nil {
		return nil, fmt.Errorf("look whose interface %s is: %w", device, err)
	}
	for _, l := range have.Links {
		if other, ours := strings.CutPrefix(l.Alias, underlay.AliasPrefix); l.Name == device && ours && l.Alias != owner {
			return nil, fmt.Errorf("interface %s is that of another flanneld on this host, with --etcd-prefix=%s: "+
				"give each network a VNI of its own, in \"Backend\"", device, other)
		}
	}
	return func() {}, nil
}
