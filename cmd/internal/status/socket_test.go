package status

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/logtest"
)

// runSocket runs a server on a socket until stop is called.
func runSocket(t *testing.T, path string, b *Board) (log *logtest.Buffer, stop func()) {
	t.Helper()
	log = new(logtest.Buffer)
	s := ListenSocket(path, b, log.Logger())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return log, stop
}

func TestSocketIsReadByTheGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flanneld.sock")
	b := NewBoard(func(string) {})
	start(b)
	want(b, 2, 3)
	_, stop := runSocket(t, path, b)
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	s, err := Read(t.Context(), path, MostPeers)
	if err != nil || s.Schema != Schema || len(s.Peers.List) != 3 || s.Text != b.Status().Text || s.PID != os.Getpid() || s.Process != os.Getpid() {
		t.Errorf("read %+v, %v", s, err)
	}
	if s, err := Read(t.Context(), path, 0); err != nil || s.Peers.List != nil || s.Peers.Wanted != 2 {
		t.Errorf("without a list, read %+v, %v", s, err)
	}
	stop()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays behind: %v", err)
	}
}

func TestSocketsOfTwoDaemons(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flanneld.sock")
	first, second := NewBoard(func(string) {}), NewBoard(func(string) {})
	first.Describe("one", "")
	second.Describe("two", "")
	_, stop := runSocket(t, path, first)
	log, stopSecond := runSocket(t, path, second)
	if !strings.Contains(log.String(), "another process answers") {
		t.Errorf("the log of the second has %q", log.String())
	}
	stopSecond()
	if s, err := Read(t.Context(), path, 0); err != nil || s.Version != "one" {
		t.Errorf("read %q, %v, want the first daemon's", s.Version, err)
	}
	stop()
	// What a daemon leaves that is killed is in nobody's way.
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	runSocket(t, path, second)
	if s, err := Read(t.Context(), path, 0); err != nil || s.Version != "two" {
		t.Errorf("read %q, %v, want the second daemon's", s.Version, err)
	}
}

func TestSocketReplacesNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flanneld.sock")
	if err := os.WriteFile(path, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{path, filepath.Join(t.TempDir(), strings.Repeat("long", 60)), "/nowhere/flanneld.sock"} {
		log, stop := runSocket(t, at, NewBoard(func(string) {}))
		if !strings.Contains(log.String(), "--status-socket") {
			t.Errorf("%s: the log has %q", at, log.String())
		}
		stop()
	}
	if text, err := os.ReadFile(path); string(text) != "a file" {
		t.Errorf("the file has %q, %v", text, err)
	}
}

// Whatever clients send, nothing is changed, and the next one is answered.
func TestHostileRequests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flanneld.sock")
	runSocket(t, path, NewBoard(func(string) {}))
	for name, row := range map[string]struct{ request, want string }{
		"huge headers":      {"GET /v1/status HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "431"},
		"a huge path":       {"GET /" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost: a\r\n\r\n", "431"},
		"no HTTP":           {"\x16\x03\x01\x02\x00\x01\r\n\r\n", "400"},
		"a write":           {"POST /v1/status HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", "405"},
		"a deletion":        {"DELETE /v1/status HTTP/1.1\r\nHost: a\r\n\r\n", "405"},
		"a mad number":      {"GET /v1/status?peers=99999999999999999999 HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"a negative one":    {"GET /v1/status?peers=-1 HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"a path upwards":    {"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "30"},
		"what is not there": {"GET /v1/secret HTTP/1.1\r\nHost: a\r\n\r\n", "404"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			go io.WriteString(c, row.request)
			head := make([]byte, 512)
			n, err := io.ReadAtLeast(c, head, len("HTTP/1.1 000"))
			if err != nil || !strings.HasPrefix(string(head[:n]), "HTTP/1.1 "+row.want) {
				t.Errorf("answered %q, %v, want %s", head[:n], err, row.want)
			}
			if _, err := Read(t.Context(), path, 0); err != nil {
				t.Errorf("the next client: %v", err)
			}
		})
	}
}

// Without an address that the operator has named, other hosts read only what older
// releases tell them.
func TestOtherHostsReadOnlyWhetherItRuns(t *testing.T) {
	b := NewBoard(func(string) {})
	for _, row := range []struct {
		ip                  string // that the operator has named; empty: none
		remote, local, host string
		path                string
		want                int
	}{
		{"", "192.0.2.9:1000", "192.0.2.1:8471", "192.0.2.1:8471", "/healthz", 200},
		{"", "192.0.2.9:1000", "192.0.2.1:8471", "192.0.2.1:8471", "/livez", 200},
		{"", "192.0.2.9:1000", "192.0.2.1:8471", "192.0.2.1:8471", "/readyz", 503},
		{"", "192.0.2.9:1000", "192.0.2.1:8471", "192.0.2.1:8471", "/v1/status", 403},
		{"", "192.0.2.9:1000", "192.0.2.1:8471", "localhost", "/v1/status", 403},
		{"", "192.0.2.1:1000", "192.0.2.1:8471", "192.0.2.1:8471", "/v1/status", 200},
		{"", "127.0.0.1:1000", "127.0.0.1:8471", "localhost:8471", "/v1/status", 200},
		{"", "[::ffff:127.0.0.1]:1000", "[::ffff:127.0.0.1]:8471", "127.0.0.1:8471", "/v1/status", 200},
		{"", "[::1]:1000", "[::1]:8471", "[::1]:8471", "/v1/status", 200},
		{"", "127.0.0.1:1000", "127.0.0.1:8471", "rebound.example:8471", "/v1/status", 403},
		{"0.0.0.0", "192.0.2.9:1000", "192.0.2.1:8471", "h1.example:8471", "/v1/status", 200},
		{"127.0.0.1", "127.0.0.1:1000", "127.0.0.1:8471", "127.0.0.1:8471", "/v1/status", 200},
		{"127.0.0.1", "127.0.0.1:1000", "127.0.0.1:8471", "rebound.example:8471", "/v1/status", 403},
		{"::1", "[::1]:1000", "[::1]:8471", "rebound.example:8471", "/v1/status", 403},
		{"localhost", "127.0.0.1:1000", "127.0.0.1:8471", "rebound.example:8471", "/v1/status", 403},
	} {
		s, err := Listen(row.ip, 0, row.ip != "", b, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		local, err := net.ResolveTCPAddr("tcp", row.local)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(local)), "GET", "http://"+row.host+row.path, nil)
		r.RemoteAddr = row.remote
		if code := serveOne(s, r); code != row.want {
			t.Errorf("%+v: answered %d", row, code)
		}
	}
}
