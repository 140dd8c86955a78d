package etcd3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"flanneld/subnet/etcd"
)

// maxAnswer bounds an answer, in bytes, as with the v2 API. A lease has some 220 in a
// listing, so that there may be 150,000.
const maxAnswer = 32 << 20

// errClosed: the store is.
var errClosed = errors.New("the store is closed")

// members are the endpoints, of which one is used at a time: a connection costs a member
// of etcd some 100 KB. It is used until it fails. Safe for concurrent use.
type members struct {
	endpoints []*url.URL
	access    etcd.Access
	dialer    *etcd.Dialer
	times     timing
	options   []grpc.DialOption // of tests

	mu      sync.Mutex
	at      int     // the endpoint in use
	current *member // nil: none is connected
	closed  bool
	open    map[*member]bool
}

// member is one connection to an endpoint, which gRPC makes anew when it breaks.
type member struct {
	url    *url.URL
	access etcd.Access
	conn   *grpc.ClientConn
	kv     clientv3.KV
	lease  pb.LeaseClient
	watch  pb.WatchClient
	auth   pb.AuthClient
	config *tls.Config // what it was made with

	users int // with what follows, the members' lock is for it
	left  bool

	mu     sync.Mutex
	failed error // why the last connection was not made
}

func newMembers(o Options, d *etcd.Dialer, t timing) (*members, error) {
	ms := &members{access: o.Access.Filled(), dialer: d, times: t, options: o.grpc, open: make(map[*member]bool)}
	for _, e := range o.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return nil, fmt.Errorf("set up etcd client: %q is no URL of etcd: write http:// or https:// and a host", e)
		}
		ms.endpoints = append(ms.endpoints, u)
	}
	if len(ms.endpoints) == 0 {
		return nil, errors.New("set up etcd client: there is no endpoint")
	}
	// All hosts have the same list, and are to use all members.
	rand.Shuffle(len(ms.endpoints), func(i, k int) { ms.endpoints[i], ms.endpoints[k] = ms.endpoints[k], ms.endpoints[i] })
	return ms, nil
}

// use returns the member to ask. The caller is done with it some time. When the
// certificates have changed it is a new one: the one before ends with what uses it.
func (ms *members) use() (*member, error) {
	config := ms.access.TLS()
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if ms.closed {
		return nil, errClosed
	}
	if ms.current != nil && ms.current.config != config {
		ms.forget(ms.current)
	}
	if ms.current == nil {
		m, err := ms.connect(ms.endpoints[ms.at], config)
		if err != nil {
			return nil, err
		}
		ms.current, ms.open[m] = m, true
	}
	ms.current.users++
	return ms.current, nil
}

// hold is use of a member that somebody uses.
func (ms *members) hold(m *member) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m.users++
}

func (ms *members) done(m *member) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m.users--
	ms.sweep(m)
}

// leave is called when a member has failed: the next endpoint is used. A watch by it
// may go on, and finds out by itself.
func (ms *members) leave(m *member) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if ms.current == m {
		ms.at = (ms.at + 1) % len(ms.endpoints)
		ms.forget(m)
	}
}

// forget makes room for another member. The caller has the lock, here and in sweep.
func (ms *members) forget(m *member) {
	ms.current, m.left = nil, true
	ms.sweep(m)
}

// sweep closes a member that was left and that nobody uses.
func (ms *members) sweep(m *member) {
	if m.left && m.users == 0 && ms.open[m] {
		delete(ms.open, m)
		_ = m.conn.Close() // nobody uses it
	}
}

func (ms *members) close() {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.closed, ms.current = true, nil
	for m := range ms.open {
		delete(ms.open, m)
		_ = m.conn.Close() // who uses it gets an error
	}
}

// connect makes a member. The connection itself is made when it is first asked.
func (ms *members) connect(u *url.URL, config *tls.Config) (*member, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	m := &member{url: u, access: ms.access, config: config}
	conn, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(u.Hostname(), port), append([]grpc.DialOption{
		grpc.WithTransportCredentials(newHandshake(m, u.Scheme == "https", config)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			c, err := ms.dialer.Reach(ctx, ms.access, address)
			return c, m.note(err)
		}),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableHealthCheck(),
		// It is for the time in which the connection is not given up yet.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: ms.times.dial,
		}),
		// etcd takes a ping each 5 s, and gRPC sends none more often than each 10 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: ms.times.answer}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)), grpc.WithMaxHeaderListSize(1 << 16),
	}, ms.options...)...)
	if err != nil {
		return nil, fmt.Errorf("set up etcd client: %w", err)
	}
	m.conn, m.kv = conn, clientv3.NewKVFromKVClient(pb.NewKVClient(conn), nil)
	m.lease, m.watch, m.auth = pb.NewLeaseClient(conn), pb.NewWatchClient(conn), pb.NewAuthClient(conn)
	return m, nil
}

// note remembers why a connection was not made: gRPC's errors have but its text, if any.
func (m *member) note(err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = err
	return err
}

// reason returns why the last connection was not made.
func (m *member) reason() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed
}
