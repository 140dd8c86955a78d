package status

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// journal is what is remembered of what has happened.
type journal struct {
	events   ring // what has changed
	errors   ring // the log's warnings and errors
	traffic  []Sample
	counters []Counter // the backend's, when they were last looked at

	seq     uint64        // of the last event
	changed chan struct{} // is closed by the next event; nil: nobody waits for it
}

const (
	mostEvents     = 50  // of a ring, in a Status
	mostRemembered = 500 // for whoever follows and is slow
)

// happened remembers an event, and wakes those who follow.
func (j *journal) happened(e Event) {
	j.seq++
	e.Seq = j.seq
	j.events.add(e)
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// after returns the events that are remembered and follow another one, and what is closed by
// the next.
func (j *journal) after(seq uint64) ([]Event, <-chan struct{}) {
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	first, _ := slices.BinarySearchFunc(j.events, seq+1, func(e Event, seq uint64) int { return cmp.Compare(e.Seq, seq) })
	return slices.Clone(j.events[first:]), j.changed
}

// ring remembers the last events. The same one several times in a row is one, the last.
type ring []Event

func (r *ring) add(e Event) {
	if n := len(*r); n > 0 {
		if last := &(*r)[n-1]; last.Level == e.Level && last.Part == e.Part && last.Text == e.Text {
			e.Count += last.Count
			*last = e
			return
		}
	}
	if *r = append(*r, e); len(*r) > mostRemembered {
		*r = slices.Delete(*r, 0, len(*r)-mostRemembered)
	}
}

// list returns the last of them.
func (r *ring) list() []Event { return slices.Clone((*r)[max(len(*r)-mostEvents, 0):]) }

// mostText bounds a text that is remembered, in bytes.
const mostText = 1000

func clip(s string) string {
	if len(s) <= mostText {
		return s
	}
	return strings.ToValidUTF8(s[:mostText], "") + "..."
}

// Record returns a handler that does what the next one does, and has the Board remember
// warnings and errors.
func Record(next slog.Handler, b *Board) slog.Handler { return recorder{Handler: next, board: b} }

// recorder is a handler that shows a Board what passes through.
type recorder struct {
	slog.Handler
	board *Board
	attrs []slog.Attr
}

func (h recorder) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		var text strings.Builder
		text.WriteString(r.Message)
		show := func(a slog.Attr) bool {
			if text.Len() < mostText {
				text.WriteString(" " + a.String())
			}
			return true
		}
		for _, a := range h.attrs {
			show(a)
		}
		r.Attrs(show)
		level := "warning"
		if r.Level >= slog.LevelError {
			level = "error"
		}
		e := Event{Time: r.Time.Round(0), Level: level, Text: clip(text.String()), Count: 1}
		h.board.change(func(time.Time) { h.board.journal.errors.add(e) })
	}
	return h.Handler.Handle(ctx, r)
}

func (h recorder) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.Handler, h.attrs = h.Handler.WithAttrs(attrs), slices.Concat(h.attrs, attrs)
	return h
}

func (h recorder) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}
