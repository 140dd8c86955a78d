package etcd

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// connectProxy passes on what clients send to a server, whatever server they ask for.
func connectProxy(t *testing.T, server net.Addr) string {
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || server == nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		passOn(t, w, server)
	}))
	t.Cleanup(p.Close)
	return p.URL
}

// passOn connects who asks a proxy to a server, until either ends.
func passOn(t *testing.T, w http.ResponseWriter, server net.Addr) {
	to, err := net.Dial("tcp", server.String())
	if err != nil {
		t.Error(err)
		return
	}
	defer to.Close()
	from, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(to, from); to.Close() }()
	_, _ = io.Copy(from, to)
	from.Close()
}

func TestAnErrorByAProxyNamesIt(t *testing.T) {
	etcd := httptest.NewUnstartedServer(http.NotFoundHandler())
	etcd.Config.ErrorLog = log.New(io.Discard, "", 0) // its client ends the handshake
	etcd.StartTLS()
	t.Cleanup(etcd.Close)
	for name, row := range map[string]struct {
		proxy, text, remedy string
	}{
		"the proxy refuses":              {connectProxy(t, nil), "Forbidden", "lets this host reach etcd"},
		"nobody listens":                 {"http://127.0.0.1:1", "refused", "lets this host reach etcd"},
		"etcd has another's certificate": {connectProxy(t, etcd.Listener.Addr()), "certificate is valid for", "as its certificate does"},
	} {
		tr := NewTransport([]string{"https://192.0.2.1:2379"}, Access{Proxy: row.proxy}, NewDialer(time.Second, nil), time.Second)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://192.0.2.1:2379/v2/keys", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(r)
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s: there is an answer", name)
			continue
		}
		if text := err.Error(); !strings.Contains(text, "by the proxy "+row.proxy) || !strings.Contains(text, row.text) {
			t.Errorf("%s: error %q does not have the proxy and %q", name, text, row.text)
		}
		if got := Remedy(err); !strings.Contains(got, row.remedy) {
			t.Errorf("%s: remedy %q for %v, want %q", name, got, err, row.remedy)
		}
		tr.CloseIdleConnections()
	}
}
