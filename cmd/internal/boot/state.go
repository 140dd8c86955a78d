package boot

import (
	"errors"
	"fmt"
	"log/slog"

	"flanneld/cmd/internal/host"
	"flanneld/pkg/statedir"
	"flanneld/subnet/cache"
	"flanneld/subnet/node"
)

// State is what of this host outlasts the daemon.
type State struct {
	*statedir.Dir      // in memory if there is no directory that can be written
	Kept          bool // it is on the disk
	Identity      *node.Identity
	Cache         *Cache
}

// OpenState opens the state directory and locks it, and the network below an etcd prefix.
// The machine-id's path may be empty, which stands for the usual one.
func OpenState(path, etcdPrefix, machineID string, log *slog.Logger) (s State, release func(), err error) {
	s.Dir, err = statedir.Open(path)
	if s.Kept = err == nil; !s.Kept {
		log.Warn("The state directory cannot be written; a reboot will change the device's MAC, and has to wait for etcd. "+
			"Give a writable one with --state-dir", "dir", path, "err", err)
	}
	unlock, err := s.Lock()
	if errors.Is(err, statedir.ErrLocked) {
		// Two with one lease would undo what the other does, each with its own flags.
		return s, nil, fmt.Errorf("another flanneld runs on this host: %w (stop it, or give each its own --state-dir, --subnet-file and --etcd-prefix)", err)
	}
	if err != nil {
		unlock = func() {}
	}
	// Also with another directory.
	leave, err := host.LockNetwork(etcdPrefix, log)
	if err != nil {
		unlock()
		return s, nil, err
	}
	s.Identity = node.Load(s.Dir, node.ThisMachine(machineID), log)
	s.Cache = &Cache{Dir: s.Dir, Path: path, BootID: bootID(), Host: cache.Host{Node: s.Identity.ID(), Prefix: etcdPrefix}, Log: log}
	return s, func() { leave(); unlock() }, nil
}
