package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asProgram makes the test binary the program, so that tests can kill it.
const asProgram = "FLANNEL_ETCD_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		main()
	}
	os.Exit(m.Run())
}

// startLimit is for a machine with much else to do: a start takes a fifth of a
// second.
const startLimit = 30 * time.Second

// proc is a running flannel-etcd.
type proc struct {
	*exec.Cmd
	url    string // its clients'
	log    buffer
	notify *net.UnixConn
	done   chan struct{}
}

// launch starts the program and does not wait for it.
func launch(t *testing.T, clients string, args ...string) *proc {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	p := &proc{url: "http://" + clients, notify: conn, done: make(chan struct{})}
	p.Cmd = exec.Command(os.Args[0], append([]string{"--listen-client-urls=" + p.url}, args...)...)
	p.Env = []string{asProgram + "=1", "NOTIFY_SOCKET=" + socket}
	p.Stdout, p.Stderr = &p.log, &p.log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(p.done); _ = p.Wait() }()
	t.Cleanup(func() {
		p.kill()
		conn.Close()
		if t.Failed() {
			t.Logf("log of %s:\n%s", p.url, p.log.String())
		}
	})
	return p
}

// ready waits for READY=1.
func (p *proc) ready(t *testing.T) *proc {
	t.Helper()
	buf := make([]byte, 4096)
	for end := time.Now().Add(startLimit); time.Now().Before(end); {
		_ = p.notify.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := p.notify.Read(buf)
		if err == nil && strings.Contains("\n"+string(buf[:n]), "\nREADY=1") {
			return p
		}
		select {
		case <-p.done:
			t.Fatalf("it ended: %v\n%s", p.ProcessState, p.log.String())
		default:
		}
	}
	t.Fatal("no READY=1")
	return nil
}

func (p *proc) kill() {
	_ = p.Process.Kill()
	<-p.done
}

// exit waits for the end and returns the status.
func (p *proc) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(startLimit):
		t.Fatal("it does not end")
	}
	return p.ProcessState.ExitCode()
}

// terminate asks for a clean end.
func (p *proc) terminate(t *testing.T) {
	t.Helper()
	began := time.Now()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := p.exit(t); status != 0 {
		t.Errorf("status %d after SIGTERM", status)
	}
	if d := time.Since(began); d > 4*time.Second {
		t.Errorf("it took %v to end", d)
	}
}

// ports returns addresses at which nobody listens just now, on hosts of the
// loopback network.
func ports(t *testing.T, hosts ...string) []string {
	t.Helper()
	var out []string
	for _, h := range hosts {
		l, err := net.Listen("tcp", h+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

// single starts a cluster of one, or starts it again.
func single(t *testing.T, dir string, args ...string) *proc {
	t.Helper()
	at := ports(t, "127.0.0.1", "127.0.0.1")
	return launch(t, at[0], append([]string{"--data-dir=" + dir, "--listen-peer-urls=http://" + at[1]}, args...)...).ready(t)
}

// v2 makes a request to the v2 API and returns the value of the node it answers
// with.
func v2(ctx context.Context, method, base, key string, form url.Values) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, base+key, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var answer struct{ Node *struct{ Value string } }
	if err := json.Unmarshal(body, &answer); err != nil || answer.Node == nil {
		return "", fmt.Errorf("%s %s%s: %s", method, base, key, bytes.TrimSpace(body))
	}
	return answer.Node.Value, nil
}

func put(t *testing.T, p *proc, key, value string) {
	t.Helper()
	if _, err := v2(t.Context(), http.MethodPut, p.url, "/v2/keys/"+key, url.Values{"value": {value}}); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, p *proc, key, value string) {
	t.Helper()
	if got, err := v2(t.Context(), http.MethodGet, p.url, "/v2/keys/"+key+"?quorum=true", nil); err != nil || got != value {
		t.Errorf("%s = %q, %v; want %q", key, got, err, value)
	}
}

// eventually repeats f until it returns nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	err := errors.New("no time")
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// buffer is a bytes.Buffer that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
