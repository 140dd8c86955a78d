package status

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

	"golang.org/x/net/netutil"

	"flanneld/backend"
	"flanneld/subnet"
)

// Server answers /healthz, /readyz and /counters.
type Server struct {
	board    *Board
	listener net.Listener                             // nil: no port was asked for
	counters atomic.Pointer[func() []backend.Counter] // nil: there are none
	log      *slog.Logger
}

// Listen returns a Server on that address; port 0: one that answers nobody. A port that
// is taken is an error.
func Listen(ip string, port int, b *Board, log *slog.Logger) (*Server, error) {
	s := &Server{board: b, log: log}
	if port == 0 {
		return s, nil
	}
	at := net.JoinHostPort(ip, strconv.Itoa(port))
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("Start healthz server error: %w (choose another --healthz-ip or --healthz-port)", err)
	}
	s.listener = l
	log.Info("Start healthz server on " + at)
	return s, nil
}

// SetCounters sets what reads the counters. It may be called at any time.
func (s *Server) SetCounters(read func() []backend.Counter) { s.counters.Store(&read) }

// maxConnections is the number of connections at one time; more wait in the kernel. The
// daemon has only so many descriptors, and needs them for etcd and the firewall.
const maxConnections = 64

// requestTime is the longest time that a client may take to send a request, or to take an
// answer; connections that stay open without one are closed after it, too. When the daemon
// stops, it is the longest time that open requests get.
const requestTime = 3 * time.Second

// Run answers until ctx is done, and then for as long as requests are open, but no
// longer than requestTime.
func (s *Server) Run(ctx context.Context) {
	if s.listener == nil {
		return
	}
	h := &http.Server{
		Handler: s.handler(), MaxHeaderBytes: 16 << 10,
		ReadTimeout: requestTime, WriteTimeout: 2 * requestTime, IdleTimeout: requestTime, // the second begins with the first
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	shut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(shut)
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
		defer cancel()
		if h.Shutdown(bound) != nil {
			_ = h.Close()
		}
	})
	if err := h.Serve(netutil.LimitListener(s.listener, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("The healthz server has ended", "err", err)
	}
	if !stop() {
		<-shut
	}
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		setHeader(w, s.board.Status().Lease)
		_, _ = io.WriteString(w, "flanneld is running")
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		now := s.board.Status()
		setHeader(w, now.Lease)
		if !now.Ready {
			http.Error(w, "flanneld is not ready yet", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "flanneld is ready")
	})
	mux.HandleFunc("/counters", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if read := s.counters.Load(); read != nil {
			for _, c := range (*read)() {
				fmt.Fprintln(w, c.Name, c.Value)
			}
		}
	})
	return mux
}

// setHeader says how the host stands with its lease in a header, since scripts compare
// the bodies with what older releases answer.
func setHeader(w http.ResponseWriter, l Lease) {
	if l.State == "" {
		return
	}
	text := l.State
	if key := (subnet.Key{V4: l.Subnet, V6: l.SubnetV6}); key != (subnet.Key{}) {
		text += "; subnet=" + strings.ReplaceAll(key.String(), " ", ",")
	}
	if l.Reason != "" {
		text += "; reason=" + strconv.QuoteToASCII(l.Reason)
	}
	w.Header().Set("Flannel-Lease", text)
}
