package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"flanneld/backend"
)

// health answers /healthz and /readyz (CONTRACT 10), and /counters.
type health struct {
	ready    atomic.Bool
	listener net.Listener                             // nil: nobody asked for it
	counters atomic.Pointer[func() []backend.Counter] // nil: there are none
	log      *slog.Logger
}

func (h *health) setReady(is bool) { h.ready.Store(is) }

// shutdownTime is how long open requests may take when the daemon stops.
const shutdownTime = 3 * time.Second

// listenHealth listens if a port was asked for. A busy port is an error.
func listenHealth(o options, log *slog.Logger) (*health, error) {
	h := &health{log: log}
	if o.HealthzPort == 0 {
		return h, nil
	}
	at := net.JoinHostPort(o.HealthzIP, strconv.Itoa(o.HealthzPort))
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("Start healthz server error: %w (choose another --healthz-ip or --healthz-port)", err)
	}
	h.listener = l
	log.Info("Start healthz server on " + at)
	return h, nil
}

// run answers until ctx is done, and then for as long as requests are open, but
// no longer than shutdownTime.
func (h *health) run(ctx context.Context) {
	if h.listener == nil {
		return
	}
	s := &http.Server{Handler: h.handler(), ReadHeaderTimeout: shutdownTime}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(h.listener) }()
	select {
	case err := <-ended:
		h.log.Error("The healthz server has ended", "err", err)
		return
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if s.Shutdown(bound) != nil {
		_ = s.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		h.log.Error("The healthz server has ended", "err", err)
	}
}

func (h *health) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "flanneld is running")
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !h.ready.Load() {
			http.Error(w, "flanneld is not ready yet", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "flanneld is ready")
	})
	mux.HandleFunc("/counters", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if counters := h.counters.Load(); counters != nil {
			for _, c := range (*counters)() {
				fmt.Fprintln(w, c.Name, c.Value)
			}
		}
	})
	return mux
}
