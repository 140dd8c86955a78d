package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"flanneld/pkg/netlab"
)

// process is a program that runs until the cluster is closed. Its output goes
// to a file.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// start starts a program in a namespace, with additions to its environment.
func startProcess(c *cluster, name string, ns netlab.Namespace, env []string, program string, arg ...string) (*process, error) {
	p := &process{name: name, done: make(chan struct{}), log: filepath.Join(c.dir, strings.ReplaceAll(name, " ", "-")+".log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Not the caller's context: close ends processes in order, and asks first.
	p.cmd = ns.Command(context.Background(), program, arg...)
	p.cmd.Env = append(environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A group of its own, as an interrupt from the terminal is for the demo,
	// which then ends its processes itself.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	c.processes = append(c.processes, p)
	return p, nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop asks the process to end, and kills it if it does not within the limit.
func (p *process) stop(limit time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(limit):
	}
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.done
	return fmt.Errorf("stop %s: it did not end within %s and was killed", p.name, limit)
}

// logTail returns the log's last lines.
func (p *process) logTail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	lines := strings.SplitAfter(string(data), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "")
}

// notifySocket is where a daemon says that it is ready, as to systemd.
type notifySocket struct {
	path string
	conn *net.UnixConn
}

func newNotifySocket(path string) (*notifySocket, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("make notify socket: %w", err)
	}
	return &notifySocket{path: path, conn: conn}, nil
}

// wait blocks until the process has said READY=1. It returns an error if the
// process ends, the timeout passes or ctx is done before.
func (s *notifySocket) wait(ctx context.Context, from *process, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no READY=1 within %s", timeout))
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-from.done:
		case <-ctx.Done():
		case <-ended:
			return
		}
		_ = s.conn.SetReadDeadline(time.Unix(0, 1))
	}()
	buf := make([]byte, 4096)
	for {
		n, err := s.conn.Read(buf)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return fmt.Errorf("wait for %s: %w", from.name, context.Cause(ctx))
		default:
			return fmt.Errorf("wait for %s: it ended: %s", from.name, from.cmd.ProcessState)
		}
		for line := range strings.Lines(string(buf[:n])) {
			if strings.TrimSpace(line) == "READY=1" {
				return nil
			}
		}
	}
}

func (s *notifySocket) close() { s.conn.Close() }
