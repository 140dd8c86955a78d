package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// health answers /healthz and /readyz (CONTRACT 10).
type health struct{ ready atomic.Bool }

func (h *health) setReady(is bool) { h.ready.Store(is) }

// shutdownTime is how long open requests may take when the daemon stops.
const shutdownTime = 3 * time.Second

// startHealth listens if a port was asked for. A busy port is an error.
func startHealth(ctx context.Context, o options, log *slog.Logger) (*health, error) {
	h := new(health)
	if o.HealthzPort == 0 {
		return h, nil
	}
	at := netip.AddrPortFrom(o.HealthzIP, uint16(o.HealthzPort))
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("Start healthz server error: %w (choose another --healthz-port)", err)
	}
	s := &http.Server{Handler: h.handler(), ReadHeaderTimeout: shutdownTime}
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		_ = s.Shutdown(ctx)
	})
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("The healthz server has ended", "err", err)
		}
	}()
	log.Info("Start healthz server on " + at.String())
	return h, nil
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
	return mux
}
