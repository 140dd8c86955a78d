package main

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/fdstore/fake"
)

func TestNotifierSaysNothingTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	t.Setenv("NOTIFY_SOCKET", path)
	said, err := listen(path, "", new(fake.Manager))
	if err != nil {
		t.Fatal(err)
	}
	defer said.close()
	n := &notifier{log: slog.New(slog.DiscardHandler)}
	n.status("one")
	n.status("one")
	n.ready()
	n.status("two")
	n.stopping()
	n.stopping()
	n.status("three")
	want := "STATUS=one\nREADY=1\nSTATUS=two\nSTOPPING=1\n"
	if err := eventually(time.Second, func() error {
		if d := cmp.Diff(want, said.log.String()); d != "" {
			return mistake("(-want +got):\n%s", d)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// Errors of several things at once have several lines.
func TestNotifierSaysAStatusInOneLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	t.Setenv("NOTIFY_SOCKET", path)
	said, err := listen(path, "", new(fake.Manager))
	if err != nil {
		t.Fatal(err)
	}
	defer said.close()
	n := &notifier{log: slog.New(slog.DiscardHandler)}
	n.failed(errors.Join(errors.New("add route: \xff"), errors.New("READY=1")))
	want := "STATUS=failed: add route: ? READY=1\n"
	if err := eventually(time.Second, func() error {
		if d := cmp.Diff(want, said.log.String()); d != "" {
			return mistake("(-want +got):\n%s", d)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestNotifierWarnsOnceThatNobodyListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	var log bytes.Buffer
	n := &notifier{log: slog.New(slog.NewTextHandler(&log, nil))}
	n.status("one")
	n.ready()
	n.stopping()
	if strings.Count(log.String(), "level=WARN") != 1 {
		t.Errorf("log is %s, want one warning", &log)
	}
}
