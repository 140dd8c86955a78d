package etcd

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// A server that has refused our certificate closes the connection, and this may be all
// that the client sees of it.
func TestAClosedConnectionHasTheCredentialsReadAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	for scheme, want := range map[string]int{"https": 1, "http": 0} {
		url := scheme + "://" + l.Addr().String()
		looks := 0
		tr := NewTransport([]string{url}, Access{Refused: func() { looks++ }}, NewDialer(time.Second, nil), time.Second)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v2/keys", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := tr.RoundTrip(r); err == nil {
			resp.Body.Close()
			t.Errorf("%s: an answer of a server that gives none", scheme)
		}
		if looks != want {
			t.Errorf("%s: the credentials are read %d times, want %d", scheme, looks, want)
		}
	}
}
