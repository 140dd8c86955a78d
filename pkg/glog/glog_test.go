package glog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestHeader(t *testing.T) {
	at := time.Date(2026, 10, 12, 12, 39, 36, 843784999, time.Local)
	for _, tt := range []struct {
		name  string
		level slog.Level
		pid   int
		want  string
	}{
		{"info", slog.LevelInfo, 873, "I1012 12:39:36.843784     873 ???:1] hello\n"},
		{"debug prints as info", slog.LevelDebug, 1, "I1012 12:39:36.843784       1 ???:1] hello\n"},
		{"between info and warn", slog.LevelInfo + 1, 1, "I1012 12:39:36.843784       1 ???:1] hello\n"},
		{"warn", slog.LevelWarn, 1234567, "W1012 12:39:36.843784 1234567 ???:1] hello\n"},
		{"above error, long pid", slog.LevelError + 4, 12345678, "E1012 12:39:36.843784 12345678 ???:1] hello\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			h := New(&b, nil).(*handler)
			h.pid = tt.pid
			if err := h.Handle(context.Background(), slog.NewRecord(at, tt.level, "hello", 0)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Errorf("line (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSourceIsTheCaller(t *testing.T) {
	var b bytes.Buffer
	slog.New(New(&b, nil)).Info("hello")
	if !regexp.MustCompile(`^I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ glog_test\.go:\d+\] hello\n$`).MatchString(b.String()) {
		t.Errorf("line %q", b.String())
	}
}

type password string

func (password) LogValue() slog.Value { return slog.StringValue("***") }

func TestAttributes(t *testing.T) {
	for _, tt := range []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"plain", func(l *slog.Logger) { l.Info("m", "a", 1, "b", "x/y:z") }, "m a=1 b=x/y:z"},
		{"quoted", func(l *slog.Logger) { l.Info("m", "a", "", "b", "x y", "c", "k=v", "d", `"`) }, `m a="" b="x y" c="k=v" d="\""`},
		{"newline in a value", func(l *slog.Logger) { l.Info("m", "a", "x\ny") }, `m a="x\ny"`},
		{"bad key", func(l *slog.Logger) { l.Info("m", "a b", 1) }, `m "a b"=1`},
		{"error", func(l *slog.Logger) { l.Info("m", "err", errors.New("no route")) }, `m err="no route"`},
		{"duration", func(l *slog.Logger) { l.Info("m", "d", 90*time.Second) }, "m d=1m30s"},
		{"time", func(l *slog.Logger) { l.Info("m", "t", time.Unix(0, 0).UTC()) }, "m t=1970-01-01T00:00:00Z"},
		{"resolved", func(l *slog.Logger) { l.Info("m", "p", password("hunter2")) }, "m p=***"},
		{"groups", func(l *slog.Logger) {
			l.With("a", 1).WithGroup("g").With("b", 2).WithGroup("").Info("m", slog.Group("h", "c", 3), slog.Group("", "d", 4))
		}, "m a=1 g.b=2 g.h.c=3 g.d=4"},
		{"empty group and attribute", func(l *slog.Logger) { l.Info("m", slog.Group("g"), slog.Attr{}) }, "m"},
		{"message on one line", func(l *slog.Logger) { l.Info("a\nI0101 b\tc\r\n") }, `a\nI0101 b\tc`},
		{"not UTF-8", func(l *slog.Logger) { l.Info("a\xffb ü") }, `a\xffb ü`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			tt.log(slog.New(New(&b, nil)))
			_, got, _ := strings.Cut(b.String(), "] ")
			if diff := cmp.Diff(tt.want+"\n", got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLevelIsAskedEachTime(t *testing.T) {
	var b bytes.Buffer
	var lv slog.LevelVar
	l := slog.New(New(&b, &lv))
	l.Debug("one")
	lv.Set(slog.LevelDebug)
	l.Debug("two")
	if got := b.String(); strings.Contains(got, "one") || !strings.Contains(got, "two") {
		t.Errorf("got %q", got)
	}
}

func TestDerivedHandlersDoNotShareAttributes(t *testing.T) {
	var b bytes.Buffer
	base := slog.New(New(&b, nil)).With("a", 1)
	one, two := base.With("b", 2), base.With("c", 3)
	one.Info("m")
	two.Info("m")
	lines := strings.Split(b.String(), "\n")
	if !strings.HasSuffix(lines[0], "] m a=1 b=2") || !strings.HasSuffix(lines[1], "] m a=1 c=3") {
		t.Errorf("got %q", lines)
	}
}

// lineWriter fails the test if a record takes more or less than one Write.
type lineWriter struct {
	t *testing.T
	n int
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.n++ // unguarded: the race detector then checks the handler's lock
	if bytes.Count(p, []byte("\n")) != 1 || p[len(p)-1] != '\n' {
		w.t.Errorf("write of %q", p)
	}
	return len(p), nil
}

func TestOneWritePerRecord(t *testing.T) {
	w := &lineWriter{t: t}
	l := slog.New(New(w, nil))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				l.With("a", 1).Info("x\ny", "b", "c\nd")
			}
		})
	}
	wg.Wait()
	if w.n != 400 {
		t.Errorf("%d writes, want 400", w.n)
	}
}

func TestSlogContract(t *testing.T) {
	var b bytes.Buffer
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		if strings.HasSuffix(t.Name(), "/zero-time") {
			t.Skip("the format cannot leave out the time")
		}
		b.Reset()
		return New(&b, nil)
	}, func(t *testing.T) map[string]any {
		m := map[string]any{slog.TimeKey: 0, slog.LevelKey: 0}
		_, line, _ := strings.Cut(strings.TrimSpace(b.String()), "] ")
		words := strings.Fields(line)
		m[slog.MessageKey] = words[0]
		for _, w := range words[1:] {
			k, v, _ := strings.Cut(w, "=")
			in := m
			for {
				group, rest, ok := strings.Cut(k, ".")
				if !ok {
					break
				}
				if in[group] == nil {
					in[group] = map[string]any{}
				}
				in, k = in[group].(map[string]any), rest
			}
			in[k] = v
		}
		return m
	})
}

func FuzzOneLine(f *testing.F) {
	f.Add("hello", "key", "value")
	f.Add("a\nb", "", "\x00\u2028")
	f.Add("\xff\r\n", "k=", "\"")
	f.Fuzz(func(t *testing.T, msg, key, value string) {
		var b bytes.Buffer
		slog.New(New(&b, nil)).Info(msg, key, value)
		if s := b.String(); strings.Count(s, "\n") != 1 || strings.ContainsAny(s, "\r\u2028") {
			t.Errorf("wrote %q", s)
		}
	})
}

func TestLongTextsAreCut(t *testing.T) {
	var out bytes.Buffer
	long := strings.Repeat("ü", 1<<20)
	slog.New(New(&out, nil)).Error("start "+long, "err", errors.New(long), "text", long)
	if got := out.String(); len(got) > 4*mostValue || strings.Count(got, "...") != 3 || !utf8.ValidString(got) || strings.Count(got, "\n") != 1 {
		t.Errorf("%d bytes: %.200s", len(got), got)
	}
}
