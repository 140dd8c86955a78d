package journald

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
)

type entry struct {
	Message  string
	Priority journal.Priority
	Fields   map[string]string
}

// plain is a format without a time.
func plain(w io.Writer) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
}

func describe(_ string, attrs []slog.Attr) map[string]string {
	fields := make(map[string]string)
	for _, a := range attrs {
		fields[strings.ToUpper(a.Key)] = a.Value.String()
	}
	return fields
}

func TestEntriesHaveTheLineAndTheFields(t *testing.T) {
	var got []entry
	var stderr bytes.Buffer
	var fails error
	log := slog.New(New(&stderr, plain, describe, func(m string, p journal.Priority, f map[string]string) error {
		got = append(got, entry{m, p, f})
		return fails
	}))
	log.With("peer", "192.0.2.1").Warn("lost", "subnet", "10.5.1.0/24")
	log.Error("gone")
	log.Debug("detail")
	want := []entry{
		{"level=WARN msg=lost peer=192.0.2.1 subnet=10.5.1.0/24", journal.PriWarning, map[string]string{"PEER": "192.0.2.1", "SUBNET": "10.5.1.0/24"}},
		{"level=ERROR msg=gone", journal.PriErr, map[string]string{}},
		{"level=DEBUG msg=detail", journal.PriDebug, map[string]string{}},
	}
	if diff := cmp.Diff(want, got); diff != "" || stderr.Len() > 0 {
		t.Errorf("%q, (-want +got)\n%s", stderr.String(), diff)
	}
	fails = errors.New("no buffer space available")
	log.Info("kept")
	if stderr.String() != "level=INFO msg=kept\n" {
		t.Errorf("what was not sent is %q", stderr.String())
	}
}

// Each line has the fields of its own record, however many are logged at a time.
func TestFieldsAreTheLines(t *testing.T) {
	bad := 0
	log := slog.New(New(io.Discard, plain, describe, func(m string, _ journal.Priority, f map[string]string) error {
		if !strings.HasSuffix(m, "n="+f["N"]) {
			bad++
		}
		return nil
	}))
	var g sync.WaitGroup
	for n := range 8 {
		g.Go(func() {
			for range 100 {
				log.Info("x", "n", n)
			}
		})
	}
	g.Wait()
	if bad > 0 {
		t.Errorf("%d entries have another's fields", bad)
	}
}
