package etcd2

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"flanneld/subnet/config"
	"flanneld/subnet/etcd"
)

// member answers each request but that for its version with a status and a body.
func member(t *testing.T, status int, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			_, _ = w.Write([]byte(`{"etcdserver":"3.4.23","etcdcluster":"3.4.0"}`))
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestAClusterLacksTheAPIIfNoMemberThatAnswersHasIt(t *testing.T) {
	without := member(t, http.StatusNotFound, "404 page not found\n")
	empty := member(t, http.StatusNotFound, `{"errorCode":100,"message":"Key not found","cause":"/net","index":3}`)
	leaderless := member(t, http.StatusServiceUnavailable, `{"message":"no leader"}`)
	refuses := member(t, http.StatusUnauthorized, `{"errorCode":110,"message":"The request requires user authentication","cause":"Insufficient credentials","index":0}`)
	for name, row := range map[string]struct {
		endpoints []string
		lacks     bool
		silent    int
		none      bool
	}{
		"one member":                    {[]string{without}, true, 0, false},
		"a port of the same machine":    {[]string{"http://127.0.0.1:1", without}, true, 0, false},
		"a machine that is silent":      {[]string{"http://127.0.0.2:1", without}, true, 1, false},
		"nobody answers":                {[]string{"http://127.0.0.1:1"}, false, 0, false},
		"another member has it":         {[]string{without, empty}, false, 0, true},
		"another has it, and no quorum": {[]string{without, leaderless}, false, 0, false},
		"another asks who it is":        {[]string{without, refuses}, false, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestStore(t, Options{Endpoints: row.endpoints, Prefix: "/net"}, hasty())
			for range 5 { // the client begins with any endpoint
				_, err := s.Config(t.Context())
				e, lacks := errors.AsType[etcd.NoAPIError](err)
				if err == nil || lacks != row.lacks || len(e.Silent) != row.silent || errors.Is(err, config.ErrNone) != row.none {
					t.Fatalf("error %v: lacks it: %t, silent: %v", err, lacks, e.Silent)
				}
				if row.lacks && !strings.Contains(err.Error(), "--etcd-api=v3") {
					t.Errorf("error %q does not name --etcd-api=v3", err)
				}
			}
		})
	}
}
