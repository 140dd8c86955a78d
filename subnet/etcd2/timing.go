package etcd2

import "time"

// timing holds the longest times that things may take. Tests have shorter ones.
type timing struct {
	call   time.Duration // a method, with all that it asks
	dial   time.Duration // a connection, and again its TLS handshake
	header time.Duration // from the request to the answer's header
	poll   time.Duration // a wait request; up to half of it is added at random
	pause  time.Duration // between the starts of two wait requests if the first came to nothing
	soon   time.Duration // a wait that ends without an event before this is a failure

	confirm time.Duration // a wait that is to show that there was nothing
}

// defaults leaves a call the time to ask two other members when one hangs (header) or
// is not there (dial). etcd sends the header of a wait at once, so that
// bound finds a hung member in the next wait at the latest; the kernel goes on
// answering for the member in the meantime. No proxy forgets a request within
// one poll.
func defaults(call time.Duration) timing {
	if call == 0 {
		call = 8 * time.Second
	}
	return timing{
		call: call, dial: 3 * time.Second, header: 3 * time.Second,
		poll: 40 * time.Second, pause: 50 * time.Millisecond, soon: time.Second, confirm: 2 * time.Second,
	}
}
