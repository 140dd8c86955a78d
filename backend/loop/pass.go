package loop

import (
	"time"

	"flanneld/backend"
)

// Pass says how a pass went.
type Pass struct {
	Peers int // that are forwarded to, those of one family
	MTU   int // of the overlay, in bytes
	Err   error
	// Ready is set if the firewall and the datapath are in place but, at most, the
	// routes to some peers that cannot be reached from here.
	Ready bool

	Took     time.Duration
	Changes  map[string]int // of the kernel's state, by the kind of object
	Repaired bool           // only others' changes made them necessary
	Skipped  []backend.Skip // peers that the backend cannot forward to
	Device   string         // the overlay's own interface; empty: there is none
	Kernel   string         // whether the kernel moves packets in a forwarder's place; empty: there is no forwarder
}
