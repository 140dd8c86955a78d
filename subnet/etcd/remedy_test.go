package etcd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestRemedyIsForWhatFailed(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for name, row := range map[string]struct {
		err  error
		want string
	}{
		"no such name":            {dial(&net.DNSError{Err: "no such host", Name: "etcd", IsNotFound: true}), "the resolver"},
		"a resolver that is away": {dial(&net.DNSError{Err: "i/o timeout", Name: "etcd", IsTimeout: true}), "the resolver"},
		"the same, as text":       {errors.New("dial tcp: lookup etcd on 192.0.2.53:53: read udp: i/o timeout"), "the resolver"},
		"a host that is away":     {dial(os.ErrDeadlineExceeded), "the host is up and reachable"},
		"nobody listens":          {dial(syscall.ECONNREFUSED), "listens on this address"},
		"no route":                {dial(syscall.EHOSTUNREACH), "the host is up and reachable"},
		"nobody knows":            {errors.New("odd"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Remedy(fmt.Errorf("http://etcd:2379: %w", row.err))
			if row.want == "" && got != "" || !strings.Contains(got, row.want) {
				t.Errorf("remedy for %v is %q, want one with %q", row.err, got, row.want)
			}
		})
	}
}
