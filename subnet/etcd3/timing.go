package etcd3

import "time"

// timing holds the longest times that things may take. Tests have shorter ones.
type timing struct {
	call   time.Duration // a method, with all that it asks
	dial   time.Duration // a connection with its TLS handshake
	answer time.Duration // an answer, while there is another endpoint to ask
	quiet  time.Duration // a watch that says nothing, before it is asked; up to half of it is added at random
	soon   time.Duration // a watch that ends before this is a failure
	pause  time.Duration // between two rounds of a write whose outcome is not known
}

// defaults leaves a call the time to ask two other members when one hangs or is not
// there. A process that hangs is found in the keep-alive's time (see dial); a watch that
// is stuck in a process that does not, by asking it.
func defaults(call time.Duration) timing {
	if call == 0 {
		call = 8 * time.Second
	}
	return timing{
		call: call, dial: 3 * time.Second, answer: 3 * time.Second,
		quiet: 40 * time.Second, soon: time.Second, pause: 200 * time.Millisecond,
	}
}
