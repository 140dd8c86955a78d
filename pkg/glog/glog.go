// Package glog is a slog.Handler that writes the line format of Google's
// logging libraries, so that scripts and eyes trained on it keep working:
//
//	I1012 12:39:36.843784   873 daemon.go:163] message key=value
//
// The package decides how a record looks; it does not know where lines go,
// never rotates files and keeps no global logger.
package glog

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// handler formats records. Copies made by WithAttrs and WithGroup share mu and
// w, so lines of derived loggers never interleave.
type handler struct {
	mu    *sync.Mutex
	w     io.Writer
	level slog.Leveler
	pid   int

	attrs  string // attributes of WithAttrs, formatted, each with a leading blank
	prefix string // open groups, each with a trailing dot
}

// New returns a handler that writes each record of at least level to w as one
// line with one call of Write. A nil level means slog.LevelInfo. The handler
// and those derived from it may be used concurrently; they return the errors
// of w.
func New(w io.Writer, level slog.Leveler) slog.Handler {
	if level == nil {
		level = slog.LevelInfo
	}
	return &handler{mu: new(sync.Mutex), w: w, level: level, pid: os.Getpid()}
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	return l >= h.level.Level()
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	b := make([]byte, 0, 160)
	b = appendHeader(b, r, h.pid)
	b = appendMessage(b, r.Message)
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, h.prefix, a)
		return true
	})
	b = append(b, '\n')

	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.w.Write(b)
	return err
}

func (h *handler) WithAttrs(as []slog.Attr) slog.Handler {
	var b []byte
	for _, a := range as {
		b = appendAttr(b, h.prefix, a)
	}
	c := *h
	c.attrs += string(b)
	return &c
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.prefix += name + "."
	return &c
}

// appendHeader appends everything up to and including "] ". Times are local,
// as the format has no zone.
func appendHeader(b []byte, r slog.Record, pid int) []byte {
	t := r.Time
	if t.IsZero() {
		t = time.Now() // the format has no way to leave the time out
	}
	b = append(b, severity(r.Level))
	b = t.AppendFormat(b, "0102 15:04:05.000000")
	b = append(b, ' ')
	digits := strconv.Itoa(pid)
	b = append(b, strings.Repeat(" ", max(0, 7-len(digits)))...)
	b = append(b, digits...)
	b = append(b, ' ')

	file, line := "???", 1 // what the original libraries print for an unknown caller
	if r.PC != 0 {
		f, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
		if f.File != "" {
			file, line = filepath.Base(f.File), f.Line
		}
	}
	b = append(b, file...)
	b = append(b, ':')
	b = strconv.AppendInt(b, int64(line), 10)
	return append(b, "] "...)
}

// severity has no letter for debug records: the format's readers know only
// I, W, E and F.
func severity(l slog.Level) byte {
	switch {
	case l >= slog.LevelError:
		return 'E'
	case l >= slog.LevelWarn:
		return 'W'
	default:
		return 'I'
	}
}

func appendAttr(b []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if a.Key == "" && v.Kind() == slog.KindAny && v.Any() == nil {
		return b // the empty attribute, which slog.Handler asks to ignore
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, m := range v.Group() {
			b = appendAttr(b, prefix, m)
		}
		return b
	}
	b = append(b, ' ')
	b = appendWord(b, prefix+a.Key)
	b = append(b, '=')
	if v.Kind() == slog.KindTime {
		return v.Time().AppendFormat(b, time.RFC3339Nano)
	}
	return appendWord(b, v.String())
}

// appendWord appends s, quoted if a reader splitting the line at blanks and
// "=" would otherwise misread it.
func appendWord(b []byte, s string) []byte {
	if s == "" || strings.ContainsFunc(s, needsQuote) {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}

func needsQuote(r rune) bool {
	return r == '"' || r == '=' || r == ' ' || unprintable(r)
}

// appendMessage keeps a message on one line: a newline, forged or accidental, must not
// start something that looks like another record.
func appendMessage(b []byte, s string) []byte {
	s = strings.TrimRight(s, "\r\n")
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if unprintable(r) {
			q := strconv.Quote(s[:n])
			b = append(b, q[1:len(q)-1]...)
		} else {
			b = append(b, s[:n]...)
		}
		s = s[n:]
	}
	return b
}

// unprintable reports whether r could end a line or confuse a terminal. It is also true
// of utf8.RuneError, which stands for bytes that are not UTF-8.
func unprintable(r rune) bool {
	return r == utf8.RuneError || !strconv.IsPrint(r)
}
