package script

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// Loader writes many keys into a cluster's etcd, over one connection.
type Loader struct {
	v2 http.Client
	v3 *clientv3.Client // nil: v2 is used
}

// NewLoader returns one for the API that is in use. The caller closes it.
func NewLoader(c *Cluster) (*Loader, error) {
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = c.Lab.Switch().Enter(func() error {
			var d net.Dialer
			conn, err = d.DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	l := &Loader{v2: http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 10 * time.Second}}
	if c.api != "v3" {
		return l, nil
	}
	var err error
	l.v3, err = clientv3.New(clientv3.Config{
		Endpoints: []string{"http://127.0.0.1:2379"},
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return dial(ctx, "tcp", strings.TrimPrefix(addr, "http://"))
		})},
	})
	return l, err
}

// Close ends the connection.
func (l *Loader) Close() {
	l.v2.CloseIdleConnections()
	if l.v3 != nil {
		_ = l.v3.Close()
	}
}

// Write sets a key, such as "a/b". A life of zero has no end.
func (l *Loader) Write(key, value string, life time.Duration) error {
	if l.v3 != nil {
		return l.put(key, value, life)
	}
	form := url.Values{"value": {value}}
	if life > 0 {
		form.Set("ttl", fmt.Sprint(int(life.Seconds())))
	}
	req, err := http.NewRequest("PUT", "http://127.0.0.1:2379/v2/keys/"+key, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := l.v2.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("write %s: %s", key, resp.Status)
	}
	return nil
}

// put is Write by the v3 API. Each key has an etcd lease of its own.
func (l *Loader) put(key, value string, life time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var o []clientv3.OpOption
	if life > 0 {
		lease, err := l.v3.Grant(ctx, int64(life.Seconds()))
		if err != nil {
			return err
		}
		o = append(o, clientv3.WithLease(lease.ID))
	}
	_, err := l.v3.Put(ctx, "/"+key, value, o...)
	return err
}
