package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	etcdproc "flanneld/subnet/storetest/etcd"
)

// prefix is the cluster's part of the store.
const prefix = "/coreos.com/network"

// etcd is a cluster of members that can be made to fail. A member that is down
// or hangs is a nil in up. Safe for concurrent use.
type etcd struct {
	t     testing.TB
	urls  []string
	mu    sync.Mutex
	procs []*etcdproc.Proc
}

// quick are for members that are near each other: an election takes a quarter of
// a second. --unsafe-no-fsync would be quicker still, but it also keeps what was
// acknowledged in the process, where a kill -9 of all members loses it.
var quick = []string{"--heartbeat-interval=50", "--election-timeout=250", "--log-level=error"}

func newEtcd(t testing.TB, members int) *etcd { return newEtcdOf(t, etcdproc.Chosen(), members) }

// recent returns an etcd that has no API but v3.
func recent(t testing.TB) etcdproc.Program {
	t.Helper()
	const program = "../../bin/etcd-3.6"
	path, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not built (make etcds)", program)
	}
	return etcdproc.Program(path)
}

func newEtcdOf(t testing.TB, program etcdproc.Program, members int) *etcd {
	t.Helper()
	dir := t.TempDir()
	var procs []*etcdproc.Proc
	var err error
	for range 3 { // a port that was free can be taken by the time etcd asks for it
		procs, err = etcdproc.RunCluster(t.Context(), program, dir, members, quick...)
		if err == nil || errors.Is(err, etcdproc.ErrNotInstalled) {
			break
		}
	}
	if errors.Is(err, etcdproc.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	e := &etcd{t: t, procs: procs}
	for _, p := range procs {
		e.urls = append(e.urls, p.URL)
	}
	t.Cleanup(func() {
		for _, p := range e.procs {
			p.Kill()
		}
	})
	return e
}

func (e *etcd) proc(i int) *etcdproc.Proc {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.procs[i]
}

func (e *etcd) kill(members ...int) {
	for _, i := range members {
		e.proc(i).Kill()
	}
}

// again starts members that were killed, together.
func (e *etcd) again(members ...int) {
	e.t.Helper()
	var started sync.WaitGroup
	for _, i := range members {
		started.Go(func() {
			p, err := e.proc(i).Again(context.Background())
			for range 5 { // somebody's connection can have its port
				if err == nil {
					break
				}
				time.Sleep(time.Second)
				p, err = e.proc(i).Again(context.Background())
			}
			if err != nil {
				e.t.Errorf("member %d: %v", i, err)
				return
			}
			e.mu.Lock()
			defer e.mu.Unlock()
			e.procs[i] = p
		})
	}
	started.Wait()
}

// leads reports whether a member is the leader, or says nothing and may be.
func (e *etcd) leads(ctx context.Context, i int) bool {
	ctx, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.urls[i]+"/metrics", nil)
	if err != nil {
		e.t.Error(err)
		return true
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return true
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return err != nil || !bytes.Contains(text, []byte("\netcd_server_is_leader 0\n"))
}

func (e *etcd) hang(i int)   { e.signal(i, syscall.SIGSTOP) }
func (e *etcd) resume(i int) { e.signal(i, syscall.SIGCONT) }
func (e *etcd) signal(i int, s os.Signal) {
	if err := e.proc(i).Signal(s); err != nil {
		e.t.Errorf("member %d: %v", i, err)
	}
}

// cpu is the processor time that all members have used.
func (e *etcd) cpu() time.Duration {
	var sum time.Duration
	for i := range e.urls {
		sum += cpu(e.t, e.proc(i).Pid())
	}
	return sum
}

// cpu is the processor time that a process has used.
func cpu(t testing.TB, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// proc_pid_stat(5): the name in brackets can hold anything; utime and stime
	// are fields 14 and 15, in hundredths of a second on every Linux.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rss is how much memory a process has, in bytes.
func rss(t testing.TB, pid int) int {
	t.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// set writes a key past all faults, at whatever member answers.
func (e *etcd) set(ctx context.Context, key, value string) error {
	var err error
	for ctx.Err() == nil {
		for _, u := range e.urls {
			if err = put(ctx, http.DefaultClient, u, key, url.Values{"value": {value}}); err == nil {
				return nil
			}
		}
	}
	return err
}

// put is one write of the v2 API.
func put(ctx context.Context, c *http.Client, endpoint, key string, form url.Values) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, endpoint+"/v2/keys"+key, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("put %s: %s: %s", key, resp.Status, body)
	}
	return err
}

// burn writes so many keys that are none of ours: etcd remembers 1000 events.
func (e *etcd) burn(ctx context.Context, n int) {
	var all sync.WaitGroup
	const parallel = 8
	for w := range parallel {
		all.Go(func() {
			for i := 0; i < n/parallel && ctx.Err() == nil; i++ {
				// A write that fails is one less to be remembered.
				_ = put(ctx, http.DefaultClient, e.urls[(w+i)%len(e.urls)], fmt.Sprintf("/others/%d", w), url.Values{"value": {"x"}})
			}
		})
	}
	all.Wait()
}
