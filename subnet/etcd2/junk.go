package etcd2

import (
	"errors"
	"hash/maphash"
	"log/slog"
	"path"
	"sync"

	"go.etcd.io/etcd/client/v2"

	"flanneld/pkg/words"
	"flanneld/subnet"
	"flanneld/subnet/wire"
)

// maxJunk bounds what is remembered of keys that are no leases.
const maxJunk = 1000

// junk reads nodes, and logs one that is no lease once per content. Safe for
// concurrent use.
type junk struct {
	log  *slog.Logger
	seed maphash.Seed

	mu    sync.Mutex
	known map[string]uint64 // hash of the value that was logged, by key
}

func newJunk(log *slog.Logger) *junk {
	return &junk{log: log, seed: maphash.MakeSeed(), known: make(map[string]uint64)}
}

func (j *junk) lease(n *client.Node) (subnet.Lease, bool) {
	l, err := wire.Decode(path.Base(n.Key), n.Value)
	if n.Dir {
		err = errors.New("it is a directory")
	}
	if err != nil {
		j.ignore(n, err)
		return subnet.Lease{}, false
	}
	return stamp(l, n), true
}

func (j *junk) ignore(n *client.Node, reason error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	value := maphash.String(j.seed, n.Value)
	was, known := j.known[n.Key]
	switch {
	case known && was == value:
	case !known && len(j.known) == maxJunk:
		j.known[""] = 0 // which is no key: one more, so this is said once
		j.log.Warn("Ignoring more keys that are no leases than can be named", "named", maxJunk)
	case known || len(j.known) < maxJunk:
		j.known[n.Key] = value
		j.log.Warn("Ignoring a key that is no lease", "key", words.Clip(n.Key), "err", reason)
	}
}
