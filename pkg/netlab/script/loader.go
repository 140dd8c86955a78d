package script

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Loader writes many keys into a cluster's etcd, over one connection.
type Loader struct {
	http.Client
	api string
}

// NewLoader returns one for the API that is in use. The caller closes its idle connections.
func NewLoader(c *Cluster) *Loader {
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = c.Lab.Switch().Enter(func() error {
			var d net.Dialer
			conn, err = d.DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	return &Loader{http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 10 * time.Second}, c.api}
}

// Write sets a key, such as "a/b". A life of zero has no end.
func (l *Loader) Write(key, value string, life time.Duration) error {
	if l.api == "v3" {
		return l.put(key, value, life)
	}
	form := url.Values{"value": {value}}
	if life > 0 {
		form.Set("ttl", fmt.Sprint(int(life.Seconds())))
	}
	return l.send("PUT", "v2/keys/"+key, "application/x-www-form-urlencoded", form.Encode(), nil)
}

// put is Write by the v3 API's JSON. Each key has an etcd lease of its own.
func (l *Loader) put(key, value string, life time.Duration) error {
	lease := struct{ ID string }{"0"}
	if life > 0 {
		if err := l.send("POST", "v3/lease/grant", "application/json", fmt.Sprintf(`{"TTL":"%d"}`, int(life.Seconds())), &lease); err != nil {
			return err
		}
	}
	body, err := json.Marshal(map[string]any{"key": []byte("/" + key), "value": []byte(value), "lease": lease.ID})
	if err != nil {
		return err
	}
	return l.send("POST", "v3/kv/put", "application/json", string(body), nil)
}

func (l *Loader) send(method, path, content, body string, answer any) error {
	req, err := http.NewRequest(method, "http://127.0.0.1:2379/"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", content)
	resp, err := l.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= 300:
		return fmt.Errorf("write %s: %s: %s", path, resp.Status, text)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(text, answer)
}
