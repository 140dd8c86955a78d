package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/net/netutil"
)

// Server answers questions about a Board: see handler. It changes nothing.
type Server struct {
	what     string // it is, for the log
	board    *Board
	listener net.Listener // nil: nobody is answered
	limit    int          // of connections at one time; more wait in the kernel
	guard    func(http.Handler) http.Handler
	close    func() // what else ends with it; nil: nothing
	alive    liveness
	lately   lately
	log      *slog.Logger
}

// maxConnections is the number of connections to a port at one time. The daemon has only
// so many descriptors, and needs them for etcd and the firewall.
const maxConnections = 64

// Listen returns a Server on that address; port 0: one that answers nobody. A port that
// is taken is an error. Told is set if the address is one that the operator has named: then
// whoever reaches it is answered, and else other hosts learn no more than from older releases.
// One of loopback is reached by this host alone, which leaves the names of web pages to guard against.
func Listen(ip string, port int, told bool, b *Board, log *slog.Logger) (*Server, error) {
	s := &Server{what: "healthz server", board: b, limit: maxConnections, log: log}
	if at, err := netip.ParseAddr(ip); !told || ip == "localhost" || err == nil && at.IsLoopback() {
		s.guard = onlyThisHost
	}
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

// SetAlive sets what returns nil if a loop of the daemon ticks: the watchdog asks the same.
// It may be called at any time.
func (s *Server) SetAlive(parts []func(context.Context) error) { s.alive.set(parts) }

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
	if s.close != nil {
		defer s.close()
	}
	ending := make(chan struct{})
	h := &http.Server{
		Handler: s.handler(ending), MaxHeaderBytes: 16 << 10,
		ReadTimeout: requestTime, WriteTimeout: 2 * requestTime, IdleTimeout: requestTime, // the second begins with the first
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // or clients would fill the log
	}
	h.RegisterOnShutdown(func() { close(ending) })
	shut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(shut)
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
		defer cancel()
		if h.Shutdown(bound) != nil {
			_ = h.Close()
		}
	})
	if err := h.Serve(netutil.LimitListener(s.listener, s.limit)); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("The "+s.what+" has ended", "err", err)
	}
	if !stop() {
		<-shut
	}
}
