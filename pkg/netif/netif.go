// Package netif answers questions about the network interfaces of this host, and may tell
// whether they can be changed. It changes nothing, and does not know what an interface
// carries.
package netif

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// attempts is the largest number of times that an interrupted dump is tried. On a host
// that starts many containers one or two repetitions are usual.
const attempts = 10

// Dump reads a table and reads it again when it changed meanwhile: an
// interrupted dump can lack entries.
func Dump[T any](list func() (T, error)) (T, error) {
	var all T
	var err error
	for range attempts {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}
