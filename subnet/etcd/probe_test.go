package etcd

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// A connection's own port is another one each time.
func TestAFailureThatLastsIsProbedOnce(t *testing.T) {
	resets, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resets.Close() })
	go func() {
		for {
			c, err := resets.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1))
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	}()
	for _, scheme := range []string{"http", "https"} {
		url := scheme + "://" + resets.Addr().String()
		tr := NewTransport([]string{url}, Access{}, NewDialer(time.Second, nil), time.Second)
		p := NewProbe(tr)
		for range 5 {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
			resp, err := tr.RoundTrip(r)
			if err == nil {
				resp.Body.Close()
				t.Fatal("there is an answer")
			}
			p.Connection(t.Context(), err)
			p.Version(t.Context(), err, func(string) string { return "" })
		}
		if n := len(p.known); n > 1 {
			t.Errorf("%d things were found out about one endpoint: %v", n, p.known)
		}
	}
}
