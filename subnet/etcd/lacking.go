package etcd

import (
	"errors"
	"net/url"
)

// Lacking returns a NoAPIError if of the failures, one for each endpoint, one is that an etcd
// has no such API, and none is an answer by it; else nil. A port that is silent belongs to
// no etcd if another one of the same machine has answered: the default endpoints are two
// such.
func Lacking(failures []error, none, answer error) error {
	answered := make(map[string]bool) // by the machine
	for _, err := range failures {
		switch {
		case errors.Is(err, answer): // by a member that has no leader, say
			return nil
		case errors.Is(err, none):
			answered[machine(err)] = true
		}
	}
	if len(answered) == 0 {
		return nil
	}
	var e NoAPIError
	for _, err := range failures {
		if !errors.Is(err, none) && !answered[machine(err)] {
			e.Silent = append(e.Silent, err)
		}
	}
	return e
}

// machine returns the host name that a failure is of; empty if it does not say.
func machine(failure error) string {
	e, ok := errors.AsType[*EndpointError](failure)
	if !ok {
		return ""
	}
	u, err := url.Parse(e.Endpoint)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
