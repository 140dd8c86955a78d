package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/glog"
	"flanneld/subnet/memstore"
)

func TestRepeatedIsLoggedNowAndThenAtItsCallersPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		say := repeated{log: slog.New(glog.New(&log, nil))}
		for range 61 {
			say.error("no configuration", 7)
			time.Sleep(time.Second)
		}
		_, _, here, _ := runtime.Caller(0)
		say.error("no configuration", 8)
		place := fmt.Sprintf("config_test.go:%d] no configuration", here-3)
		if n := strings.Count(log.String(), place); n != 3 || strings.Count(log.String(), "\n") != 4 {
			t.Errorf("log is %s, want three lines with %q, and one of another revision", &log, place)
		}
	})
}

func TestAwaitConfigRepeatsItsReasonEvery30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		store := memstore.New()
		doc, err := store.Config(ctx)
		_, _, err = awaitConfig(ctx, store, answer{doc, err}, func() {}, slog.New(glog.New(&log, nil)))
		if err == nil || strings.Count(log.String(), "Couldn't fetch network config") != 4 {
			t.Errorf("%v; log is %s, want lines at 0, 30, 60 and 90 seconds", err, &log)
		}
	})
}
