package etcd2

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/client/v2"

	"flanneld/subnet/etcd"
)

// errNoNode: there is JSON, without a key in it.
var errNoNode = errors.New("the answer is JSON, and not etcd's")

// apiError reports whether err is etcd's own, with one of the codes.
func apiError(err error, codes ...int) bool {
	e, ok := errors.AsType[client.Error](err)
	return ok && slices.Contains(codes, e.Code)
}

// remedy says what to do about one endpoint's error; empty if that is not known.
func remedy(err error) string {
	text := err.Error()
	has := func(s string) bool { return strings.Contains(text, s) }
	if errors.Is(err, errServer) {
		switch {
		case has("TTLs are unsupported"):
			return "this etcd has only an imitation of the v2 API, which cannot keep leases: start it with --enable-v2=true and without --experimental-enable-v2v3"
		case has(" 500 "), has(" 503 "):
			return etcd.NoQuorum
		}
		return "check what is between here and etcd"
	}
	switch {
	case errors.Is(err, errNoNode), errors.Is(err, errEmpty), errors.Is(err, errNotEtcd), errors.Is(err, client.ErrInvalidJSON):
		return "check that --etcd-endpoints names an etcd, and what is between it and here"
	case errors.Is(err, errNoV2):
		return "start etcd with --enable-v2=true, or give flanneld --etcd-api=v3; etcd 3.6 and later have no v2 API"
	}
	if hint := etcd.Remedy(err); hint != "" {
		return hint
	}
	if strings.HasPrefix(text, "110:") || strings.HasPrefix(text, "0: Insufficient") {
		return "check --etcd-username and its password, and that etcd's role lets this user read and write below --etcd-prefix"
	}
	return ""
}

// withoutV2 says what to do about an etcd of a version that has no v2 API.
func withoutV2(version string) string {
	if etcd.AtLeast(version, 3, 6) {
		return fmt.Sprintf("etcd %s has no v2 API any more: give flanneld --etcd-api=v3, or use etcd 3.4 or 3.5 with --enable-v2=true", version)
	}
	return fmt.Sprintf("this etcd %s has the v2 API switched off: start it with --enable-v2=true, or with ETCD_ENABLE_V2=true in its environment; or give flanneld --etcd-api=v3", version)
}
