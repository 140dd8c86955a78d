package status

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/backend"
	"flanneld/pkg/glog"
)

func TestCountersAreLoggedWhenTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(glog.New(&out, slog.LevelDebug))
		read := func() []backend.Counter { return []backend.Counter{{Name: "a", Value: 1}, {Name: "b", Value: 0}} }
		b := NewBoard(func(string) {})
		b.SetCounters(read)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- LogCounters(ctx, b, log) }()
		for range 2 {
			time.Sleep(countersEvery + time.Second)
			synctest.Wait()
		}
		if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "Counters a=1\n") {
			t.Errorf("log is %q, want one line about a", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := LogCounters(t.Context(), b, slog.New(glog.New(&out, slog.LevelInfo))); err != nil {
			t.Error(err) // returns at once
		}
	})
}
