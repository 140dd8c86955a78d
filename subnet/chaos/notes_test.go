package chaos

import (
	"sync"
)

// note is one line of a host's own account: a call of the store, or what it
// believes since then.
type note struct {
	Host  string // its owner, as in the values that it writes
	Kind  kind
	ID    string            `json:",omitempty"` // of an operation, unique for the host
	Key   string            `json:",omitempty"` // such as "10.5.1.0-24"
	Value string            `json:",omitempty"` // that was written, or must have been there
	Was   string            `json:",omitempty"` // that it was written over, if Kind is renew
	All   map[string]string `json:",omitempty"` // value by key, if Kind is list
	Call  moment            // of operations: when it was made
	At    moment            // when it ended, or since when this is believed
	Until moment            `json:",omitempty"` // of a hold: the deadline
	Rev   uint64            `json:",omitempty"` // of what was written, or of what the belief rests on
	Done  outcome           `json:",omitempty"`
}

type kind string

// Operations of the store, and beliefs: hold is that the key is the host's own
// until a deadline, drop that it is no longer.
const (
	create  kind = "create"
	renew   kind = "renew"
	refresh kind = "refresh"
	remove  kind = "delete"
	list    kind = "list"
	hold    kind = "hold"
	drop    kind = "drop"
)

type outcome string

const (
	ok      outcome = "ok"
	taken   outcome = "taken"
	lost    outcome = "lost"
	unknown outcome = "unknown"
)

// account collects notes. Safe for concurrent use.
type account struct {
	mu    sync.Mutex
	notes []note
}

func (a *account) add(n note) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notes = append(a.notes, n)
}

func (a *account) all() []note {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.notes
}
