package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flanneld/cmd/internal/status"
)

// streaming is a daemon that says these events and ends, and from its second start on others.
func streaming(t *testing.T, s status.Status, events ...[]status.Event) (socket string, ended <-chan struct{}) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "flanneld.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	all, last := make(chan []status.Event, len(events)), make(chan struct{})
	for _, e := range events {
		all <- e
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		s.Started = s.Started.Add(time.Second)
		_ = json.NewEncoder(w).Encode(s)
	})
	mux.HandleFunc("/v1/events", func(w http.ResponseWriter, r *http.Request) {
		select {
		case some := <-all:
			for _, e := range some {
				_ = json.NewEncoder(w).Encode(e)
			}
		default:
			close(last)
			<-r.Context().Done()
		}
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return socket, last
}

func TestWatchGoesOnWithTheNextDaemon(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	event := func(seq uint64, text string, count int) status.Event {
		return status.Event{Seq: seq, Time: at, Level: "info", Part: "etcd", Text: text, Count: count}
	}
	s := aStatus()
	for n := range 15 {
		s.Events = append(s.Events, event(uint64(n+1), "old", 1))
	}
	for _, format := range []string{"text", "json"} {
		socket, ended := streaming(t, s, []status.Event{event(6, "is ok", 1), event(8, "is ok", 3), event(20, "is \x1b failing", 1)}, []status.Event{event(1, "is ok", 1)})
		ctx, stop := context.WithCancel(t.Context())
		var out, errs bytes.Buffer
		code := make(chan int)
		go func() {
			code <- program(ctx, []string{"watch", "-o", format, "--status-socket=" + socket}, nil, &out, &errs)
		}()
		<-ended
		stop()
		if got := <-code; got != exitDone || errs.String() != "" {
			t.Errorf("status %d, %s", got, errs.String())
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			if format == "json" {
				var e status.Event
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatal(err)
				}
				line = fmt.Sprintf("%s  %-7s  %-12s  %s", e.Time.Local().Format(time.DateTime), e.Level, e.Part, plain(e.Text))
				if e.Count > 1 {
					line += fmt.Sprintf(" (%d times)", e.Count)
				}
			}
			got = append(got, strings.TrimSpace(line[len(time.DateTime):]))
		}
		want := []string{"info     etcd          is ok", "info     etcd          is ok (3 times)", "warning  watch         11 events were too many to follow",
			"info     etcd          is   failing", "info     daemon        answers: v1.0.0, process 812", "info     etcd          is ok"}
		if len(got) < len(want) {
			t.Fatalf("%s: %q", format, got)
		}
		for i, w := range want {
			if !strings.HasPrefix(got[i], w) {
				t.Errorf("%s: line %d is %q, want %q", format, i, got[i], w)
			}
		}
	}
}

func TestWatchIsRefused(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "flanneld.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/events" {
			http.Error(w, "4 others watch already", http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(aStatus())
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	if out, errs, got := run(t, "watch", "--status-socket="+socket); got != exitFailed || out != "" || !strings.Contains(errs, "4 others watch already") {
		t.Errorf("status %d, %q, %q", got, out, errs)
	}
}
