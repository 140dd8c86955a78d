// Package etcdproc runs an etcd of the machine's own for tests: a process with
// both APIs, where it has both, on free loopback ports. It does not know what is kept in it.
package etcdproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ErrNotInstalled: there is no etcd in PATH.
var ErrNotInstalled = errors.New("etcd is not installed (Debian: etcd-server)")

const (
	startTime = time.Minute // for a member among others on a busy machine
	stopTime  = 5 * time.Second
	poll      = 20 * time.Millisecond
)

// Proc is a running etcd.
type Proc struct {
	URL string // of its clients, such as "http://127.0.0.1:40001"
	Dir string // its data, and its log in etcd.log

	program Program
	mute    bool  // it does not tell everybody how it is
	log     int64 // how long the log was when it was started
	cmd     *exec.Cmd
	args    []string
	done    chan struct{} // closed when it has ended
}

// Run is Chosen().Run.
func Run(ctx context.Context, dir string, args ...string) (*Proc, error) {
	return Chosen().Run(ctx, dir, args...)
}

// Start runs an etcd until the test is over and returns its clients' URL. The
// test is skipped if etcd is not installed.
func Start(t testing.TB) string {
	t.Helper()
	return StartProc(t).URL
}

// StartProc is Start for tests that also stop the process, or that give it
// arguments.
func StartProc(t testing.TB, args ...string) *Proc {
	t.Helper()
	return Chosen().Start(t, args...)
}

// Start is StartProc for one program.
func (program Program) Start(t testing.TB, args ...string) *Proc {
	t.Helper()
	p, err := program.Run(t.Context(), t.TempDir(), args...)
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// Run starts etcd with its data in dir, and waits until it answers. If an
// earlier one ran there it goes on with that one's data and URLs. The arguments
// come after its own; with --cert-file its clients' URL is https. The context ends
// the waiting, not the process: call Stop.
func (program Program) Run(ctx context.Context, dir string, args ...string) (*Proc, error) {
	bin, err := exec.LookPath(string(program))
	if err != nil {
		return nil, ErrNotInstalled
	}
	u, err := earlier(dir)
	if err == nil {
		p, err := program.run(ctx, bin, dir, u, args)
		if err != nil {
			return nil, fmt.Errorf("run etcd again: %w", err)
		}
		return p, nil
	}
	for range 3 { // a port that was free can be taken by the time etcd asks for it
		var p *Proc
		if u, err = free(); err == nil {
			if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--cert-file=") }) {
				u.clients = strings.Replace(u.clients, "http://", "https://", 1)
			}
			p, err = program.run(ctx, bin, dir, u, args)
		}
		if err == nil {
			if err = u.keep(dir); err == nil {
				return p, nil
			}
			p.Stop()
		}
		// A member knows its URL from then on, so another try begins anew.
		if ctx.Err() != nil || os.RemoveAll(filepath.Join(dir, "data")) != nil {
			break
		}
	}
	return nil, fmt.Errorf("run etcd: %w", err)
}

func (program Program) run(ctx context.Context, bin, dir string, u urls, args []string) (*Proc, error) {
	out, err := os.OpenFile(filepath.Join(dir, "etcd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	before, err := out.Stat()
	if err != nil {
		return nil, err
	}
	m := Member{Dir: filepath.Join(dir, "data"), Clients: u.clients, Peers: u.peers}
	cmd := exec.Command(bin, program.Knows(append(m.Args(), args...))...)
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.Env = out, out, dir, environ()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	// It may want a certificate that we do not have; the imitation of v2 on the v3
	// store has no /health.
	mute := strings.HasPrefix(u.clients, "https:") || slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, "v2v3") })
	p := &Proc{program: program, mute: mute, URL: u.clients, Dir: dir, log: before.Size(), cmd: cmd, args: args, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ends is the caller's wish, or seen in its log
	}()
	if err := p.ready(ctx); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// ready waits until etcd has a leader.
func (p *Proc) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for !p.healthy(ctx) {
		select {
		case <-p.done:
			return fmt.Errorf("it ended at once: see %s", filepath.Join(p.Dir, "etcd.log"))
		case <-ctx.Done():
			return fmt.Errorf("it does not become healthy: %w", ctx.Err())
		case <-ticker.C:
		}
	}
	return nil
}

func (p *Proc) healthy(ctx context.Context) bool {
	if p.mute {
		log, err := os.ReadFile(filepath.Join(p.Dir, "etcd.log"))
		return err == nil && strings.Contains(string(log[p.log:]), "ready to serve client requests")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/health", nil)
	if err != nil {
		return false
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return err == nil && strings.Contains(string(body), "true")
}

// Stop ends etcd and waits for it. Twice is once.
func (p *Proc) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it fails if etcd has ended
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // a stopped process takes no SIGTERM
	select {
	case <-p.done:
	case <-time.After(stopTime):
		p.Kill()
	}
}

// Kill ends etcd as a power failure does, and waits for it.
func (p *Proc) Kill() {
	_ = p.cmd.Process.Kill() // it fails if etcd has ended
	<-p.done
}

// Again starts an etcd that has ended, with its data, URLs and arguments.
func (p *Proc) Again(ctx context.Context) (*Proc, error) { return p.program.Run(ctx, p.Dir, p.args...) }

// Wipe removes the data of an etcd that has ended.
func (p *Proc) Wipe() error { return os.RemoveAll(filepath.Join(p.Dir, "data")) }

// Pid is the process's id.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal, such as SIGSTOP to make etcd hang.
func (p *Proc) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// environ is ours without what either would take for its options.
func environ() []string {
	var e []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ETCD_") && !strings.HasPrefix(v, "FLANNEL_ETCD_") {
			e = append(e, v)
		}
	}
	return e
}
