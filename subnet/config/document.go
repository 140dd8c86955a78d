package config

import "errors"

// Revision counts the store's changes. Revisions of one store are ordered; zero
// is before all of them.
type Revision uint64

// Document is the configuration as the store has it, not yet parsed.
type Document struct {
	Raw []byte
	Rev Revision // of its last change; if there is no document, of the store when that was found out
}

// ErrNone is what a store that answered, but has no document, returns.
var ErrNone = errors.New("no network configuration in the store")
