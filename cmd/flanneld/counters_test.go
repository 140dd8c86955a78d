package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/backend"
	"flanneld/pkg/glog"
)

func TestCountersAreServed(t *testing.T) {
	get := func(h *health) (int, string) {
		w := httptest.NewRecorder()
		h.handler().ServeHTTP(w, httptest.NewRequest("GET", "/counters", nil))
		return w.Code, w.Body.String()
	}
	h := new(health)
	if code, body := get(h); code != 200 || body != "" {
		t.Errorf("without a backend: %d %q", code, body)
	}
	read := func() []backend.Counter { return []backend.Counter{{Name: "udp_a", Value: 1}, {Name: "udp_b"}} }
	h.counters.Store(&read)
	if code, body := get(h); code != 200 || body != "udp_a 1\nudp_b 0\n" {
		t.Errorf("counters are served as %d %q", code, body)
	}
}

func TestCountersAreLoggedWhenTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(glog.New(&out, slog.LevelDebug))
		read := func() []backend.Counter { return []backend.Counter{{Name: "a", Value: 1}, {Name: "b", Value: 0}} }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- logCounters(ctx, read, log) }()
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
		if err := logCounters(t.Context(), read, slog.New(glog.New(&out, slog.LevelInfo))); err != nil {
			t.Error(err) // returns at once
		}
	})
}
