package etcd

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Reach opens a connection to an address, through the proxy if there is one: what follows is
// between both ends, whatever it is.
func (d *Dialer) Reach(ctx context.Context, a Access, address string) (net.Conn, error) {
	if a.Proxy == "" {
		return d.Dial(ctx, "tcp", address)
	}
	u, err := url.Parse(a.Proxy)
	if err != nil {
		return nil, err
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	c, err := d.Dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)))
	if err != nil {
		return nil, err
	}
	if u.Scheme == "https" {
		config := a.TLS().Clone()
		if config == nil {
			config = new(tls.Config)
		}
		config.ServerName, config.NextProtos = u.Hostname(), nil
		c = tls.Client(c, config)
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	end, _ := ctx.Deadline()
	_ = c.SetDeadline(end)
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err = connect(c, address)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, c.SetDeadline(time.Time{})
}

// connect asks a proxy for a connection to an address. It reads no more than the answer.
func connect(c io.ReadWriter, address string) error {
	if _, err := fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", address, address); err != nil {
		return err
	}
	var head []byte
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, one...) {
		if len(head) == maxBody {
			return errors.New("the proxy's answer has no end")
		}
		if _, err := c.Read(one); err != nil {
			return err
		}
	}
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return fmt.Errorf("the proxy's answer is no HTTP: %w", err)
	}
	_ = r.Body.Close() // it has none
	if r.StatusCode/100 != 2 {
		return fmt.Errorf("the proxy answers %s to CONNECT", Line(r.Status))
	}
	return nil
}
