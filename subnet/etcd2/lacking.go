package etcd2

import (
	"errors"
	"net/url"

	"flanneld/subnet/etcd"
)

// lacking returns an etcd.NoAPIError if of the failures, one for each endpoint, one is that
// an etcd has no v2 API, and none is an answer by it; else nil. A port that is silent
// belongs to no etcd if another one of the same machine has answered: the default
// endpoints are two such.
func lacking(failures []error) error {
	answered := make(map[string]bool) // by the machine
	for _, err := range failures {
		switch {
		case errors.Is(err, errServer): // by a member that has no leader, say
			return nil
		case errors.Is(err, errNoV2):
			answered[machine(err)] = true
		}
	}
	if len(answered) == 0 {
		return nil
	}
	var e etcd.NoAPIError
	for _, err := range failures {
		if !errors.Is(err, errNoV2) && !answered[machine(err)] {
			e.Silent = append(e.Silent, err)
		}
	}
	return e
}

// machine returns the host name that a failure is of; empty if it does not say.
func machine(failure error) string {
	e, ok := errors.AsType[*etcd.EndpointError](failure)
	if !ok {
		return ""
	}
	u, err := url.Parse(e.Endpoint)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
