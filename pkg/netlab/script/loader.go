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

	"flanneld/pkg/netlab"
)

// Loader writes into the etcd of a namespace, over one connection.
type Loader struct{ http.Client }

// NewLoader returns a Loader for the etcd of a namespace. The caller closes its idle
// connections.
func NewLoader(ns netlab.Namespace) *Loader {
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = ns.Enter(func() error {
			var d net.Dialer
			conn, err = d.DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	return &Loader{http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 10 * time.Second}}
}

// Write sets a key, such as "a/b", with the form's parameters of the v2 API.
func (l *Loader) Write(key string, form url.Values) error {
	req, err := http.NewRequest("PUT", "http://127.0.0.1:2379/v2/keys/"+key, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := l.Do(req)
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
