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
	"strings"
	"sync/atomic"
	"time"

	"flanneld/backend"
	"flanneld/subnet"
)

// health answers /healthz and /readyz, and /counters.
type health struct {
	ready    atomic.Bool
	listener net.Listener                             // nil: nobody asked for it
	counters atomic.Pointer[func() []backend.Counter] // nil: there are none
	lease    atomic.Pointer[subnet.Standing]          // nil: none is being taken yet
	log      *slog.Logger
}

func (h *health) setReady(is bool) { h.ready.Store(is) }

func (h *health) setLease(s subnet.Standing) { h.lease.Store(&s) }

// leaseHeader says in every answer how this host stands with its lease; the texts
// are those that older releases answer with, for whoever compares them.
const leaseHeader = "Flannel-Lease"

// say sets the header.
func (h *health) say(w http.ResponseWriter) {
	s := h.lease.Load()
	if s == nil {
		return
	}
	text := s.State.String()
	if s.Lease.Key() != (subnet.Key{}) {
		text += "; subnet=" + strings.ReplaceAll(s.Lease.Key().String(), " ", ",")
	}
	if s.Reason != "" {
		text += "; reason=" + strconv.QuoteToASCII(s.Reason)
	}
	w.Header().Set(leaseHeader, text)
}

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
		h.say(w)
		_, _ = io.WriteString(w, "flanneld is running")
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		h.say(w)
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
