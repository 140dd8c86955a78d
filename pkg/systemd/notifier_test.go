package systemd

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNotifierSaysNothingAfterStopping(t *testing.T) {
	m := startManager(t, 0)
	n := &Notifier{Log: slog.New(slog.DiscardHandler)}
	n.Status("one")
	n.Ready()
	n.Status("two")
	n.Stopping()
	n.Stopping()
	n.Status("three")
	m.want(t, "STATUS=one", "READY=1", "STATUS=two", "STOPPING=1")
}

// Errors of several things at once have several lines.
func TestNotifierSaysAStatusInOneLine(t *testing.T) {
	m := startManager(t, 0)
	n := &Notifier{Log: slog.New(slog.DiscardHandler)}
	n.Status("failed: " + errors.Join(errors.New("add route: \xff"), errors.New("READY=1")).Error())
	m.want(t, "STATUS=failed: add route: ? READY=1")
}

func TestNotifierWarnsOnceThatNobodyListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	var log bytes.Buffer
	n := &Notifier{Log: slog.New(slog.NewTextHandler(&log, nil))}
	n.Status("one")
	n.Ready()
	n.Stopping()
	if strings.Count(log.String(), "level=WARN") != 1 {
		t.Errorf("log is %s, want one warning", &log)
	}
}

// TestNotifierWaitsForNoManager that does not read; what it is next told has the status that it missed.
func TestNotifierWaitsForNoManager(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	queued := 0
	for notify("full", time.Millisecond) == nil {
		queued++
	}
	n := &Notifier{Log: slog.New(slog.DiscardHandler)}
	n.Status("first")
	n.Status("second")
	n.Feed()
	buf := make([]byte, 100)
	read := func() string {
		_ = socket.SetReadDeadline(time.Now().Add(10 * time.Second))
		size, err := socket.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:size])
	}
	for range queued {
		read()
	}
	n.Feed()
	n.Ready()
	if d := cmp.Diff([]string{"WATCHDOG=1\nSTATUS=second", "READY=1"}, []string{read(), read()}); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// want compares what the manager was sent so far.
func (m *testManager) want(t *testing.T, messages ...string) {
	t.Helper()
	settle(t, OpenFDStore())
	var got []string
	for len(m.messages) > 0 {
		if text := <-m.messages; text != "BARRIER=1" {
			got = append(got, text)
		}
	}
	if d := cmp.Diff(messages, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
