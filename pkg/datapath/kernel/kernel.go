//go:build linux

// Package kernel carries datapath operations out over rtnetlink, in the network
// namespace of the calling thread. Links go through the netlink library;
// addresses, entries and routes, of which there are thousands, are sent many
// to a system call.
package kernel

import (
	"log/slog"
	"time"
)

// Kernel implements datapath.Kernel. It is safe for concurrent use.
type Kernel struct {
	log *slog.Logger
	seq sequence
}

// New returns a Kernel; it opens nothing yet.
func New(log *slog.Logger) *Kernel { return &Kernel{log: log} }

// retryDump bounds how often an interrupted dump is taken again, and after
// which pause: on a host whose tables never rest the last one has to do.
const (
	dumpTries = 5
	dumpPause = 2 * time.Millisecond
)
