// Package wake tells a loop that there is a reason to look again. It does not say
// what the reason is, so that any number of them cost one look.
package wake

// Chan is a channel with room for one token. The loop receives from it; anybody may
// leave a token, at any time.
type Chan chan struct{}

// New returns a Chan without a token.
func New() Chan { return make(Chan, 1) }

// Wake leaves a token unless one is there already. It never blocks.
func (c Chan) Wake() {
	select {
	case c <- struct{}{}:
	default:
	}
}
