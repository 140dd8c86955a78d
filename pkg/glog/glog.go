// Package glog is a slog.Handler that writes the line format of Google's
// logging libraries, so that scripts and eyes trained on it keep working:
//
//	I1012 12:39:36.843784   873 daemon.go:163] message key=value
//
// The package decides how a record looks; it does not know where lines go,
// never rotates files and keeps no global logger.
package glog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// handler gives slog's own text handler the header and the message as one message.
type handler struct {
	slog.Handler
	pid int
}

// New returns a handler that writes each record of at least level to w as one
// line with one call of Write. A nil level means slog.LevelInfo. The handler
// and those derived from it may be used concurrently; they return the errors
// of w.
func New(w io.Writer, level slog.Leveler) slog.Handler {
	return &handler{slog.NewTextHandler(lines{w}, &slog.HandlerOptions{Level: level, ReplaceAttr: replace}), os.Getpid()}
}

func (h *handler) WithAttrs(as []slog.Attr) slog.Handler {
	return &handler{h.Handler.WithAttrs(as), h.pid}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.Handler.WithGroup(name), h.pid}
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	at := r.Time // local, as the format has no zone
	if at.IsZero() {
		at = time.Now() // the format has no way to leave the time out
	}
	file, line := "???", 1 // what the original libraries print for an unknown caller
	if s := r.Source(); s != nil {
		file, line = filepath.Base(s.File), s.Line
	}
	r.Message = fmt.Sprintf("%c%s %7d %s:%d] %s", severity(r.Level), at.Format("0102 15:04:05.000000"), h.pid,
		file, line, strings.TrimRight(r.Message, "\r\n"))
	r.Time = time.Time{}
	return h.Handler.Handle(ctx, r)
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

// replace leaves out the record's level, which the header has.
func replace(groups []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case slog.Level:
		return slog.Attr{}
	case time.Time:
		return slog.String(a.Key, v.Format(time.RFC3339Nano))
	}
	return Clip(groups, a)
}

// mostValue bounds a text in a line, in bytes.
const mostValue = 4000

// Clip bounds the texts of a line, the message among them: what others have written can be of
// any length. It is a ReplaceAttr of slog.HandlerOptions.
func Clip(_ []string, a slog.Attr) slog.Attr {
	var text string
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	}
	if len(text) > mostValue {
		a.Value = slog.StringValue(strings.ToValidUTF8(text[:mostValue], "") + "...")
	}
	return a
}

// lines takes what the text handler writes, which begins with the message as a Go string:
// the header has blanks. What could end a line or confuse a terminal stays escaped, so
// that no message can look like another record.
type lines struct{ io.Writer }

var unescape = strings.NewReplacer(`\"`, `"`, `\\`, `\`)

func (l lines) Write(text []byte) (int, error) {
	quoted, err := strconv.QuotedPrefix(string(bytes.TrimPrefix(text, []byte(slog.MessageKey+"="))))
	if err != nil {
		return 0, err
	}
	attrs := text[len(slog.MessageKey+"=")+len(quoted):]
	return l.Writer.Write(append([]byte(unescape.Replace(quoted[1:len(quoted)-1])), attrs...))
}
