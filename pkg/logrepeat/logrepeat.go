// Package logrepeat keeps an error that comes again and again from filling the log: of the
// same warning or error the first few in a minute pass, and then one a minute, which says how
// often it came. It does not know where lines go.
package logrepeat

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	passing  = 3           // of the same line in a period
	period   = time.Minute // from the first of them on
	mostSeen = 200         // different lines at a time; more are not limited
)

// New returns a handler that passes to the next one what is not repeated. Handlers derived
// from it have one memory, and may be used concurrently.
func New(next slog.Handler) slog.Handler {
	return &handler{Handler: next, seen: &memory{lines: make(map[string]*line)}}
}

type handler struct {
	slog.Handler
	seen  *memory
	attrs string
}

type memory struct {
	mu    sync.Mutex
	lines map[string]*line
}

// line is one that was logged in its period.
type line struct {
	since time.Time
	count int
	last  slog.Record
	next  slog.Handler // of the last
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	var key strings.Builder
	if r.Level >= slog.LevelWarn {
		fmt.Fprint(&key, r.Level, " ", r.Message, h.attrs)
		r.Attrs(func(a slog.Attr) bool { fmt.Fprint(&key, " ", a); return true })
	}
	pass, over := h.seen.note(key.String(), r, h.Handler)
	for _, l := range over {
		if err := l.next.Handle(ctx, l.summary()); err != nil {
			return err
		}
	}
	if !pass {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// note reports whether a record passes, and returns lines whose period is over and that were
// kept back in it.
func (m *memory) note(key string, r slog.Record, next slog.Handler) (pass bool, over []*line) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for k, l := range m.lines {
		if now.Sub(l.since) >= period {
			delete(m.lines, k)
			if l.count > passing {
				over = append(over, l)
			}
		}
	}
	l := m.lines[key]
	switch {
	case key == "" || l == nil && len(m.lines) >= mostSeen:
		return true, over
	case l == nil:
		l = &line{since: now}
		m.lines[key] = l
	}
	l.count++
	l.last, l.next = r.Clone(), next
	return l.count <= passing, over
}

// summary is the last of them, with the number.
func (l *line) summary() slog.Record {
	r := l.last
	r.Message = fmt.Sprintf("%s (%d times in the last minute)", r.Message, l.count)
	return r
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.Handler.WithAttrs(attrs), h.seen, h.attrs + fmt.Sprint(" ", attrs)}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.Handler.WithGroup(name), h.seen, h.attrs + " " + name}
}
