package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLoggers returns one logger for this program's messages and one for etcd's,
// of which only those of the level in the options are logged.
func newLoggers(w io.Writer, o options) (own, etcd *zap.Logger) {
	var level zapcore.Level
	if err := level.Set(o.LogLevel); err != nil {
		level = zapcore.WarnLevel // the options have been checked
	}
	out := zapcore.Lock(zapcore.AddSync(w))
	logger := func(level zapcore.Level) *zap.Logger {
		var core zapcore.Core = &glogCore{LevelEnabler: level, out: out}
		if o.LogFormat == "json" {
			c := zap.NewProductionEncoderConfig()
			c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
			core = zapcore.NewCore(zapcore.NewJSONEncoder(c), out, level)
		}
		return zap.New(usual{core}, zap.AddCaller(), zap.ErrorOutput(out))
	}
	return logger(zapcore.InfoLevel), logger(level)
}

// usual drops what etcd warns of at every start: it is how this program means
// it, and whoever reads the log would look for a fault.
type usual struct{ zapcore.Core }

func (c usual) With(fields []zapcore.Field) zapcore.Core { return usual{c.Core.With(fields)} }

func (c usual) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	switch e.Message {
	case "Running http and grpc server on single port. This is not recommended for production.",
		"Flag `enable-v2` is deprecated and will get removed in etcd 3.6.",
		"simple token is not cryptographically signed":
		return checked
	}
	return c.Core.Check(e, checked)
}

// glogCore writes the lines that flanneld writes too, which are those of
// Google's logging libraries:
//
//	I1012 12:39:36.843784   873 serve.go:163] message key=value
type glogCore struct {
	zapcore.LevelEnabler
	out    zapcore.WriteSyncer
	fields []zapcore.Field
}

func (c *glogCore) With(fields []zapcore.Field) zapcore.Core {
	return &glogCore{c.LevelEnabler, c.out, slices.Concat(c.fields, fields)}
}

func (c *glogCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c *glogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	var b strings.Builder
	letter := "I"
	switch {
	case e.Level > zapcore.ErrorLevel:
		letter = "F"
	case e.Level == zapcore.ErrorLevel:
		letter = "E"
	case e.Level == zapcore.WarnLevel:
		letter = "W"
	}
	file, line := "???", 1
	if e.Caller.Defined {
		file, line = filepath.Base(e.Caller.File), e.Caller.Line
	}
	fmt.Fprintf(&b, "%s%s %7d %s:%d] %s", letter, e.Time.Local().Format("0102 15:04:05.000000"), os.Getpid(), file, line, oneLine(e.Message))
	for _, f := range slices.Concat(c.fields, fields) {
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc) // an error adds two keys
		for _, k := range slices.Sorted(maps.Keys(enc.Fields)) {
			fmt.Fprintf(&b, " %s=%s", k, value(enc.Fields[k]))
		}
	}
	b.WriteByte('\n')
	_, err := io.WriteString(c.out, b.String())
	return err
}

func (c *glogCore) Sync() error { return nil }

// oneLine quotes what would break a line in two, and leaves all else alone.
func oneLine(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		q := strconv.Quote(s)
		return q[1 : len(q)-1]
	}
	return s
}

func value(v any) string {
	s := fmt.Sprint(v)
	if s == "" || strings.ContainsAny(s, " \"=") || oneLine(s) != s {
		return strconv.Quote(s)
	}
	return s
}
