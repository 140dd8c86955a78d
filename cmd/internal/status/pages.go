package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"flanneld/pkg/systemd"
	"flanneld/subnet"
)

// handler answers what older releases do to anybody, and all else to whom the guard lets
// through. Streams end when ending is closed.
func (s *Server) handler(ending <-chan struct{}) http.Handler {
	open, guarded := http.NewServeMux(), http.NewServeMux()
	open.HandleFunc("/healthz", s.healthz)
	open.HandleFunc("GET /livez", s.livez)
	open.HandleFunc("GET /readyz", s.readyz)
	guarded.HandleFunc("GET /v1/status", s.status)
	guarded.HandleFunc("GET /v1/events", streamEvents(s.board, ending))
	guarded.HandleFunc("GET /counters", s.counters)
	guarded.HandleFunc("GET /{$}", webPage("index.html"))
	guarded.HandleFunc("GET /page.js", webPage("page.js"))
	guarded.HandleFunc("GET /page.css", webPage("page.css"))
	guarded.Handle("GET /metrics", metricsHandler(s.board, s.log))
	var rest http.Handler = guarded
	if s.guard != nil {
		rest = s.guard(guarded)
	}
	open.Handle("/", rest)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		open.ServeHTTP(w, r)
	})
}

// onlyThisHost refuses clients on other hosts. A name in the Host header that is none of
// loopback is refused, too: a page from elsewhere that a browser on this host shows could
// have its own name lead here.
func onlyThisHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if local == nil || !sameHost(r.RemoteAddr, local.String()) || !namesAddress(r.Host) {
			http.Error(w, "this page is for clients on the same host that use its address; to let others read it, start flanneld with --healthz-ip",
				http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// sameHost reports whether a client's address is this host's.
func sameHost(remote, local string) bool {
	a, err := netip.ParseAddrPort(remote)
	b, err2 := netip.ParseAddrPort(local)
	return err == nil && err2 == nil && (a.Addr().Unmap().IsLoopback() || a.Addr().Unmap() == b.Addr().Unmap())
}

func namesAddress(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	setHeader(w, s.board.Status().Lease)
	_, _ = io.WriteString(w, "flanneld is running")
}

func (s *Server) livez(w http.ResponseWriter, r *http.Request) {
	if err := s.alive.check(r.Context()); err != nil {
		http.Error(w, "flanneld hangs: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "flanneld is alive")
}

// readyz says why the host is not ready, with ?verbose each part of it.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	now := s.board.Status()
	setHeader(w, now.Lease)
	text := "flanneld is ready"
	if !now.Ready {
		text = "flanneld is not ready yet"
	}
	if r.URL.Query().Has("verbose") {
		text = strings.Join(append(s.board.Checks(), text), "\n")
	} else if !now.Ready {
		text += "\n" + strings.Join(now.NotReady, "\n")
	}
	if !now.Ready {
		http.Error(w, text, http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, text)
}

// status answers with the whole value. The parameter "peers" is the most of them that are
// listed.
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	most := MostPeers
	if text := r.URL.Query().Get("peers"); text != "" {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			http.Error(w, "peers= is not a whole number", http.StatusBadRequest)
			return
		}
		most = int(n)
	}
	text, err := json.Marshal(s.board.StatusWithPeers(most))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n'))
}

func (s *Server) counters(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, c := range s.lately.counters(s.board) {
		fmt.Fprintln(w, c.Name, c.Value)
	}
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

const (
	aliveWithin = 5 * time.Second // a loop has to answer
	aliveFor    = time.Second     // an answer holds, so that no number of clients keeps the loops busy
)

// liveness is whether the loops tick.
type liveness struct {
	mu    sync.Mutex // is held while they are asked: who comes meanwhile gets the same answer
	parts []func(context.Context) error
	when  time.Time
	last  error
}

func (l *liveness) set(parts []func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts, l.when = parts, time.Time{}
}

func (l *liveness) check(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.when.IsZero() || time.Since(l.when) >= aliveFor {
		// Not by the client's context: that it goes away says nothing about the loops.
		l.last = systemd.AskAll(context.WithoutCancel(ctx), aliveWithin, l.parts)
		l.when = time.Now()
	}
	return l.last
}
