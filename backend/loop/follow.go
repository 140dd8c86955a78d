package loop

import "flanneld/backend"

// Underlay watches the external interface. Nothing else would tell that it has
// another address: packets of peers just stop coming.
type Underlay interface {
	// Look compares the external interface with u. It returns what differs, in words,
	// and what the interface is now: u itself if that is not known. The text is empty
	// if nothing differs.
	Look(u backend.Underlay) (now backend.Underlay, what string)

	// Complain logs that what differs cannot be followed, and wakes the loop soon.
	Complain(what string)
}

// movedError ends a backend that another one follows.
type movedError struct {
	to   backend.Underlay
	next backend.Backend
}

func (movedError) Error() string { return "the host's external interface has changed" }

// follow returns a movedError if this host has another external interface than the
// backend and the peers know of, or another address or MTU on it.
func (r *runner) follow() error {
	if r.loop.Underlay == nil {
		return nil
	}
	now, what := r.loop.Underlay.Look(r.underlay)
	if what == "" {
		return nil
	}
	if now != r.underlay {
		next, err := r.loop.New(now, r.backend)
		if err == nil {
			return movedError{now, next}
		}
		what += ": " + err.Error()
	}
	r.loop.Underlay.Complain(what)
	return nil
}

func (l *Loop) logMove(was, now backend.Underlay) {
	if was.V4 != now.V4 || was.V6 != now.V6 {
		l.Log.Warn("This host's address has changed; following it", "interface", now.Name,
			"was", was.V4, "now", now.V4, "PublicIP", now.PublicV4)
		return
	}
	l.Log.Warn("The external interface has changed; following it", "interface", now.Name, "was", was.Name,
		"mtu", now.MTU, "before", was.MTU)
}
