package systemd

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

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
