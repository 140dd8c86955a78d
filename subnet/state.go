package subnet

import "time"

// State is where a host stands with its lease.
type State int

// The states, in the order in which a lease in trouble goes through them: see keeper, and
// docs/leases.md for operators.
const (
	Acquiring State = iota + 1 // the host has none yet
	Held                       // the key is ours, and will be for a while
	AtRisk                     // the same, but it could not be renewed or verified
	Expired                    // the key may be gone and another host have the subnet
	Conflict                   // another host has it
	Rebound                    // another subnet was leased in its place, and is held
)

func (s State) String() string {
	return [...]string{"none", "acquiring", "held", "at risk", "expired", "conflict", "rebound"}[s]
}

// Safe reports whether nobody else can have the lease.
func (s State) Safe() bool { return s == Held || s == AtRisk || s == Rebound }

// Standing is how a host stands with its lease: the State and what belongs to it.
type Standing struct {
	State    State
	Lease    Lease         // as it was last read or written; zero while there is none
	Reason   string        // of a State that is not Safe, or at risk
	Sent     time.Duration // by the Clock: when the last good write was sent
	Deadline time.Duration // by the Clock: until when the lease is ours whatever happens; zero for a reservation
}
