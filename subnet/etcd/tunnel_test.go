package etcd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// echo is a server that says first what it is.
func echo(t *testing.T) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, "hello ")
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr()
}

func TestWhatIsReachedByAProxyGetsEveryByte(t *testing.T) {
	server := echo(t)
	plain := connectProxy(t, server)
	// One with a certificate, which passes on to the other.
	front := httptest.NewUnstartedServer(nil)
	front.TLS = &tls.Config{NextProtos: []string{"http/1.1"}}
	front.StartTLS()
	secure := front.URL
	config := front.Client().Transport.(*http.Transport).TLSClientConfig
	front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { passOn(t, w, server) })
	t.Cleanup(front.Close)
	for _, proxy := range []string{"", plain, secure} {
		a := Access{Proxy: proxy, TLS: func() *tls.Config { return config }}
		d := NewDialer(5*time.Second, nil)
		c, err := d.Reach(t.Context(), a, server.String())
		if err != nil {
			t.Errorf("by %q: %v", proxy, err)
			continue
		}
		_, _ = io.WriteString(c, "you")
		got := make([]byte, len("hello you"))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello you" {
			t.Errorf("by %q: %q, %v", proxy, got, err)
		}
		d.Keep(nil) // it is one of the dialer's
		if _, err := c.Read(got); err == nil {
			t.Errorf("by %q: it outlives the host's address", proxy)
		}
		c.Close()
	}
}

func TestAProxyThatIsSilentOrRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d := NewDialer(100*time.Millisecond, nil)
	if _, err := d.Reach(t.Context(), Access{Proxy: "http://" + l.Addr().String()}, "192.0.2.1:2379"); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("a silent proxy: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Reach(ctx, Access{Proxy: "http://" + l.Addr().String()}, "192.0.2.1:2379"); !errors.Is(err, context.Canceled) && err == nil {
		t.Errorf("a caller that is gone: %v", err)
	}
	if _, err := d.Reach(t.Context(), Access{Proxy: connectProxy(t, nil)}, "192.0.2.1:2379"); err == nil || !strings.Contains(err.Error(), "403 Forbidden") {
		t.Errorf("a proxy that refuses: %v", err)
	}
}

// FuzzConnect: of an answer that lets us through, not one byte is read of what follows.
func FuzzConnect(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\nrest"))
	f.Add([]byte("HTTP/1.1 403 no\nway\r\nContent-Length: 3\r\n\r\nrest"))
	f.Add([]byte("SSH-2.0-x\r\n\r\n"))
	f.Add(bytes.Repeat([]byte("x"), 2*maxBody))
	f.Fuzz(func(t *testing.T, answer []byte) {
		in := bytes.NewReader(answer)
		err := connect(struct {
			io.Reader
			io.Writer
		}{in, io.Discard}, "192.0.2.1:2379")
		read := len(answer) - in.Len()
		if read > maxBody || err == nil && !bytes.HasSuffix(answer[:read], []byte("\r\n\r\n")) {
			t.Errorf("%d bytes of %q are read: %v", read, answer, err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q is not one line", err)
		}
	})
}
