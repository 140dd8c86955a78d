// Package journald is a slog.Handler for programs whose standard error is systemd's journal.
// What another handler writes becomes an entry's message, word for word, with the record's
// level and whatever its attributes say as fields (systemd.journal-fields(7)), so that
// journalctl finds it by them. The package does not know what the fields mean.
package journald

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
)

// Describe returns the fields of an entry, by the record's message and attributes.
type Describe func(message string, attrs []slog.Attr) map[string]string

// Send sends an entry. An error means that the journal has not got it.
type Send func(message string, p journal.Priority, fields map[string]string) error

// Reads reports whether standard error is the journal's.
func Reads() bool {
	ours, err := journal.StderrIsJournalStream()
	return ours && err == nil
}

// New returns a handler that sends what the one that format makes writes. What cannot be sent
// goes to stderr, which the journal reads, too. Handlers derived from it may be used
// concurrently.
func New(stderr io.Writer, format func(io.Writer) slog.Handler, describe Describe, send Send) slog.Handler {
	s := &sender{send: send, stderr: stderr}
	return &handler{Handler: format(s), sender: s, describe: describe}
}

type handler struct {
	slog.Handler
	sender   *sender
	describe Describe
	attrs    []slog.Attr
}

// sender is the writer of the other handler. Its lock is held while that one handles a record.
type sender struct {
	send   Send
	stderr io.Writer

	mu       sync.Mutex
	priority journal.Priority
	fields   map[string]string
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	attrs := slices.Clone(h.attrs)
	r.Attrs(func(a slog.Attr) bool { attrs = append(attrs, a); return true })
	fields := h.describe(r.Message, attrs)
	h.sender.mu.Lock()
	defer h.sender.mu.Unlock()
	h.sender.fields, h.sender.priority = fields, priority(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.Handler.WithAttrs(attrs), h.sender, h.describe, slices.Concat(h.attrs, attrs)}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.Handler.WithGroup(name), h.sender, h.describe, h.attrs}
}

// Write takes one line.
func (s *sender) Write(line []byte) (int, error) {
	if s.send(string(bytes.TrimSuffix(line, []byte("\n"))), s.priority, s.fields) != nil {
		return s.stderr.Write(line)
	}
	return len(line), nil
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
