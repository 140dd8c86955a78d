package etcd

import (
	"hash/maphash"
	"log/slog"
	"sync"

	"flanneld/pkg/words"
)

// maxJunk bounds what is remembered of keys that are no leases.
const maxJunk = 1000

// Junk logs keys that are no leases, each once per content. Safe for concurrent use.
type Junk struct {
	log  *slog.Logger
	seed maphash.Seed

	mu    sync.Mutex
	known map[string]uint64 // hash of the value that was logged, by key
}

// NewJunk returns a Junk that has said nothing yet.
func NewJunk(log *slog.Logger) *Junk {
	return &Junk{log: log, seed: maphash.MakeSeed(), known: make(map[string]uint64)}
}

// Ignore says why a key is no lease, unless that was said of this value.
func (j *Junk) Ignore(key, value string, reason error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	hash := maphash.String(j.seed, value)
	was, known := j.known[key]
	switch {
	case known && was == hash:
	case !known && len(j.known) == maxJunk:
		j.known[""] = 0 // which is no key: one more, so this is said once
		j.log.Warn("Ignoring more keys that are no leases than can be named", "named", maxJunk)
	case known || len(j.known) < maxJunk:
		j.known[key] = hash
		j.log.Warn("Ignoring a key that is no lease", "key", words.Clip(key), "err", reason)
	}
}
