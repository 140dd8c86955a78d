package main

import (
	"io"
	"path/filepath"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger returns a logger of messages of a level and above:
//
//	1012 12:39:36.843784 I serve.go:163 message {"key": "value"}
func newLogger(w io.Writer, level zapcore.Level) *zap.Logger {
	form := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", CallerKey: "caller", MessageKey: "message", ConsoleSeparator: " ",
		EncodeTime:  zapcore.TimeEncoderOfLayout("0102 15:04:05.000000"),
		EncodeLevel: func(l zapcore.Level, a zapcore.PrimitiveArrayEncoder) { a.AppendString(l.CapitalString()[:1]) },
		EncodeCaller: func(c zapcore.EntryCaller, a zapcore.PrimitiveArrayEncoder) {
			a.AppendString(filepath.Base(c.TrimmedPath()))
		},
		EncodeDuration: zapcore.StringDurationEncoder,
	})
	out := zapcore.Lock(zapcore.AddSync(w))
	return zap.New(usual{zapcore.NewCore(form, out, level)}, zap.AddCaller(), zap.ErrorOutput(out))
}

// usual drops what etcd warns of at every start: the defaults mean it so, and a reader of
// the log would look for a fault.
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
