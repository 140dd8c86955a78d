package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

// processEnv has the job, as JSON, of an engine in a process of its own.
const processEnv = "FLANNELD_TEST_ENGINE"

type job struct {
	Local netip.AddrPort
	State State
	Naive bool // run a naive host in the engine's place
}

// apart runs an engine on each side, or a naive host, each in a process of its own
// as on hosts of their own: in one process they would share its scheduler and its
// memory map.
func apart(t testing.TB, a, b *side, naive bool) {
	t.Helper()
	for _, pair := range [][2]*side{{a, b}, {b, a}} {
		s, o := pair[0], pair[1]
		s.startApart(t, job{s.endpoint(), s.state(o), naive})
	}
}

func (s *side) startApart(t testing.TB, j job) {
	t.Helper()
	text, err := json.Marshal(j)
	must(t, err)
	s.runApart(t, []string{processEnv + "=" + string(text)}, os.Args[0])
}

// runApart runs a program that makes a device, says "open", and ends with its standard
// input, and configures the device.
func (s *side) runApart(t testing.TB, env []string, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := s.Command(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		if err := wait(cmd, 10*time.Second); err != nil {
			t.Errorf("%s in a process of its own: %v", filepath.Base(program), err)
		}
		cancel()
	})
	for lines := bufio.NewScanner(out); ; {
		if !lines.Scan() {
			t.Fatalf("%s in a process of its own: it ended early", filepath.Base(program))
		}
		if lines.Text() == "open" {
			break
		}
	}
	go io.Copy(io.Discard, out)
	s.pid = cmd.Process.Pid
	s.configure(t)
}

// wait ends a process that does not end by itself.
func wait(cmd *exec.Cmd, patience time.Duration) error {
	defer time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }).Stop()
	return cmd.Wait()
}

// TestMain is the engine in a process of its own, if the environment says so. That
// ends with its standard input.
func TestMain(m *testing.M) {
	text := os.Getenv(processEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	if err := process(text); err != nil {
		fmt.Fprintln(os.Stderr, "engine in a process of its own:", err)
		os.Exit(1)
	}
}

func process(text string) error {
	var job job
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return err
	}
	var without rung
	if job.Naive {
		without = naiveRung
	}
	without.tun.Name = "flannel%d"
	device, err := tun.Open(without.tun)
	if err != nil {
		return err
	}
	defer device.Close() // or the engine does
	conn, err := udpbatch.Listen(job.Local, without.udp)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if job.Naive {
		n := newNaive(job.State.Peers[0].Endpoint, device, conn)
		context.AfterFunc(ctx, func() { n.stop.Store(true) })
		fmt.Println("open")
		n.run()
		return nil
	}
	e, err := New(Config{Sockets: []*udpbatch.Conn{conn}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	defer e.Close()
	e.Set(job.State)
	if err := e.Attach(device); err != nil {
		return err
	}
	fmt.Println("open")
	e.Run(ctx)
	return nil
}

// processorTime returns what the process of a side has used.
func (s *side) processorTime(t testing.TB) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	must(t, err)
	// The name, in parentheses, may have blanks. After it utime and stime are the
	// 12th and 13th field, in ticks of 10 ms (proc_pid_stat(5)).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		must(t, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
