package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	etcd "go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const tmpfsMagic = 0x01021994 // of linux/magic.h

func TestDataSurvive(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := single(t, dir)
	put(t, p, "a", "1")
	p.terminate(t)
	if !strings.Contains(p.log.String(), "Exiting cleanly...") {
		t.Error("it does not say that it ends")
	}

	p = single(t, dir) // at other ports than before
	want(t, p, "a", "1")
	for i := range 20 {
		put(t, p, "b", fmt.Sprint(i))
	}
	p.kill()

	p = single(t, dir)
	want(t, p, "a", "1")
	want(t, p, "b", "19")
	for line := range strings.Lines(p.log.String()) {
		// That the machine is busy is no matter of the start.
		slow := strings.Contains(line, "too long") || strings.Contains(line, "slow fdatasync")
		if (line[0] == 'W' || line[0] == 'E') && !slow {
			t.Errorf("a plain start warns: %s", line)
		}
	}
	if mode := stat(t, dir).Mode().Perm(); mode != 0o700 {
		t.Errorf("the data directory has mode %v", mode)
	}
	var size int64
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			size += stat(t, path).Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	limit := int64(16 << 20)
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		t.Fatal(err)
	}
	// etcd has the kernel read in all of its database's 16 MiB, most of which are
	// a hole; tmpfs fills holes that are read.
	if disk.Type == tmpfsMagic {
		limit += 16 << 20
	}
	if err != nil || size > limit {
		t.Errorf("the data take %d bytes, %v", size, err)
	}
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// TestStopsWithOpenPolls: each flanneld has one open all the time, or a watch of the v3
// API.
func TestStopsWithOpenPolls(t *testing.T) {
	t.Parallel()
	p := single(t, t.TempDir())
	put(t, p, "a", "1")
	watched := v3(t, p).Watch(t.Context(), "a", clientv3.WithRev(1), clientv3.WithCreatedNotify())
	if _, ok := <-watched; !ok {
		t.Fatal("the watch is not made")
	}
	ended := make(chan error, 1)
	go func() {
		_, err := v2(context.WithoutCancel(t.Context()), http.MethodGet, p.url, "/v2/keys/a?wait=true", nil)
		ended <- err
	}()
	time.Sleep(200 * time.Millisecond) // whether it is open by then or not, the end must be quick
	p.terminate(t)
	if err := <-ended; err == nil {
		t.Error("the poll was answered")
	}
}

// v3 returns a client of the v3 API.
func v3(t *testing.T, p *proc) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{p.url}, DialTimeout: startLimit, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func putV3(t *testing.T, p *proc, key, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	if _, err := v3(t, p).Put(ctx, key, value); err != nil {
		t.Fatal(err)
	}
}

// wantV3 asks for the value of a key of the v3 API; "" stands for no key.
func wantV3(t *testing.T, p *proc, key, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	r, err := v3(t, p).Get(ctx, key)
	got := ""
	if err == nil && len(r.Kvs) == 1 {
		got = string(r.Kvs[0].Value)
	}
	if err != nil || got != value {
		t.Errorf("%s of the v3 API = %q, %v; want %q", key, got, err, value)
	}
}

// TestBothAPIs: both are answered at one URL, and neither sees, wakes or deletes what is
// the other's, also under one name. A restart keeps both.
func TestBothAPIs(t *testing.T) {
	t.Parallel()
	const key, other = "/coreos.com/network/config", "/coreos.com/network/subnets/10.1.2.0-24"
	dir := t.TempDir()
	p := single(t, dir)
	c := v3(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	watched := c.Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithRev(1))
	put(t, p, key, "two")
	put(t, p, other, "two")
	wantV3(t, p, key, "")
	lease, err := c.Grant(ctx, 86400)
	if err != nil {
		t.Fatal(err)
	}
	for k, opts := range map[string][]clientv3.OpOption{key: nil, other: {clientv3.WithLease(lease.ID)}} {
		if _, err := c.Put(ctx, k, "three", opts...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.KeepAliveOnce(ctx, lease.ID); err != nil {
		t.Error(err)
	}
	if _, err := v2(ctx, http.MethodDelete, p.url, "/v2/keys"+other, nil); err != nil {
		t.Error(err)
	}
	if _, err := c.Delete(ctx, key); err != nil {
		t.Error(err)
	}
	var events []string
	for len(events) < 3 {
		r, ok := <-watched
		if !ok || r.Err() != nil {
			t.Fatalf("the watch ended after %q: %v", events, r.Err())
		}
		for _, e := range r.Events {
			events = append(events, fmt.Sprintf("%v %s=%s", e.Type, e.Kv.Key, e.Kv.Value))
		}
	}
	slices.Sort(events)
	wanted := []string{"DELETE " + key + "=", "PUT " + key + "=three", "PUT " + other + "=three"}
	if !slices.Equal(events, wanted) {
		t.Errorf("the v3 API's watch saw %q, want %q", events, wanted)
	}
	p.terminate(t)
	for line := range strings.Lines(p.log.String()) {
		if line[0] == 'E' {
			t.Errorf("it has trouble: %s", line)
		}
	}

	p = single(t, dir)
	want(t, p, key, "two")
	wantV3(t, p, key, "")
	wantV3(t, p, other, "three")
	if r, err := v3(t, p).TimeToLive(ctx, lease.ID); err != nil || r.TTL < 86000 {
		t.Errorf("the lease after a restart: %v, %v", r, err)
	}
}

// TestManySnapshots writes past several snapshots: files of before go away, and
// data do not.
func TestManySnapshots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := single(t, dir, "--snapshot-count=100", "--unsafe-no-fsync")
	for i := range 1000 {
		put(t, p, fmt.Sprintf("d/%d", i%50), fmt.Sprint(i))
	}
	p.kill()
	p = single(t, dir, "--snapshot-count=100")
	for i := 950; i < 1000; i++ {
		want(t, p, fmt.Sprintf("d/%d", i%50), fmt.Sprint(i))
	}
}

func TestThreeMembersBearTheLossOfOne(t *testing.T) {
	t.Parallel()
	hosts := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
	peers, clients := ports(t, hosts...), ports(t, hosts...)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	member := func(i int, args ...string) *proc {
		return launch(t, clients[i], append(clustered(dirs[i], peers, i), args...)...)
	}
	p := []*proc{member(0), member(1)}
	p = append(p, member(2))
	for _, m := range p {
		m.ready(t)
	}
	put(t, p[0], "a", "1")
	want(t, p[2], "a", "1")

	p[0].kill() // whether it leads or not
	eventually(t, func() error {
		_, err := v2(t.Context(), http.MethodPut, p[1].url, "/v2/keys/a", url.Values{"value": {"2"}})
		return err
	})
	p[1].kill()
	if _, err := v2(t.Context(), http.MethodPut, p[2].url, "/v2/keys/a", url.Values{"value": {"3"}}); err == nil {
		t.Error("one member of three took a write")
	}
	p[0] = member(0).ready(t)
	eventually(t, func() error { // the write that had no majority may be done by now
		got, err := v2(t.Context(), http.MethodGet, p[0].url, "/v2/keys/a?quorum=true", nil)
		if err == nil && got != "2" && got != "3" {
			err = fmt.Errorf("a = %q", got)
		}
		return err
	})

	// A member that has lost its data is refused, and then taken in anew.
	if err := os.RemoveAll(dirs[1]); err != nil {
		t.Fatal(err)
	}
	m := member(1)
	if status := m.exit(t); status != 1 || !strings.Contains(m.log.String(), "remove it from the cluster, add it again") {
		t.Errorf("status %d without data:\n%s", status, m.log.String())
	}
	etcdctl(t, p[0], "member", "remove", memberID(t, p[0], "http://"+peers[1]))
	etcdctl(t, p[0], "member", "add", "m1", "--peer-urls=http://"+peers[1])
	if err := os.RemoveAll(dirs[1]); err != nil {
		t.Fatal(err)
	}
	p[1] = member(1, "--initial-cluster-state=existing").ready(t)
	put(t, p[1], "a", "4")
	want(t, p[0], "a", "4")
	p[1].terminate(t)
	p[1] = member(1).ready(t) // from now on without the flag
	p[2].kill()
	eventually(t, func() error {
		_, err := v2(t.Context(), http.MethodPut, p[1].url, "/v2/keys/a", url.Values{"value": {"5"}})
		return err
	})
}

// TestOneBecomesThree follows docs/flannel-etcd.md.
func TestOneBecomesThree(t *testing.T) {
	t.Parallel()
	hosts := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
	peers, clients := ports(t, hosts...), ports(t, hosts...)
	dir := t.TempDir()
	p := single(t, dir)
	put(t, p, "a", "1")
	etcdctl(t, p, "member", "update", memberID(t, p, "http://"), "--peer-urls=http://"+peers[0])
	p.terminate(t)
	p = launch(t, clients[0], clustered(dir, peers[:1], 0)...).ready(t)
	for i := 1; i < 3; i++ {
		etcdctl(t, p, "member", "add", fmt.Sprint("m", i), "--peer-urls=http://"+peers[i])
		q := launch(t, clients[i], append(clustered(t.TempDir(), peers[:i+1], i), "--initial-cluster-state=existing")...).ready(t)
		want(t, q, "a", "1")
	}
	put(t, p, "a", "2")
}

// clustered returns the flags of a member of those at some addresses.
func clustered(dir string, peers []string, i int) []string {
	var all []string
	for j, p := range peers {
		all = append(all, fmt.Sprintf("m%d=http://%s", j, p))
	}
	return []string{"--data-dir=" + dir, fmt.Sprint("--name=m", i), "--listen-peer-urls=http://" + peers[i], "--initial-cluster=" + strings.Join(all, ",")}
}

// memberID returns the ID of the member whose peer URL begins so.
func memberID(t *testing.T, p *proc, prefix string) string {
	t.Helper()
	list := etcdctl(t, p, "member", "list")
	for line := range strings.Lines(list) { // ID, status, name, peers' URL, …
		if fields := strings.Split(line, ", "); len(fields) > 3 && strings.HasPrefix(fields[3], prefix) {
			return fields[0]
		}
	}
	t.Fatalf("no member at %s in %s", prefix, list)
	return ""
}

func etcdctl(t *testing.T, p *proc, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("etcdctl"); err != nil {
		t.Skip("etcdctl is not installed (Debian: etcd-client)")
	}
	var out []byte
	eventually(t, func() (err error) { // a change waits until all members are seen to be well
		cmd := exec.Command("etcdctl", append([]string{"--endpoints=" + p.url}, args...)...)
		cmd.Env = []string{"ETCDCTL_API=3"}
		if out, err = cmd.Output(); err != nil {
			err = fmt.Errorf("etcdctl %q: %w: %s", args, err, out)
		}
		return err
	})
	return string(out)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	held := t.TempDir()
	first := single(t, held)
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "passwd"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := t.TempDir()
	if err := os.Mkdir(filepath.Join(proxy, "proxy"), 0o700); err != nil {
		t.Fatal(err)
	}
	at := ports(t, "127.0.0.1", "127.0.0.1")
	for _, row := range []struct {
		name    string
		clients string
		args    []string
		want    string
	}{
		{"a directory in use", at[0], []string{"--data-dir=" + held}, "another process uses it (stop the other"},
		{"a port in use", strings.TrimPrefix(first.url, "http://"), []string{"--data-dir=" + t.TempDir()}, "address already in use (another process listens there"},
		{"an address of another host", "203.0.113.1:2379", []string{"--data-dir=" + t.TempDir()}, "it is no address of this host"},
		{"other files", at[0], []string{"--data-dir=" + foreign}, "has passwd in it, which is not of an etcd"},
		{"a proxy's", at[0], []string{"--data-dir=" + proxy}, "has proxy in it"},
		{"no certificate", at[0], []string{"--data-dir=" + t.TempDir(), "--listen-client-urls=https://" + at[0], "--cert-file=/nonexistent", "--key-file=/nonexistent"}, "/nonexistent: no such file"},
		{"a file", at[0], []string{"--data-dir=/dev/null"}, "/dev/null"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := launch(t, row.clients, append(row.args, "--listen-peer-urls=http://"+at[1])...)
			if status := p.exit(t); status != 1 || !strings.Contains(p.log.String(), row.want) {
				t.Errorf("status %d, want 1 and %q:\n%s", status, row.want, p.log.String())
			}
		})
	}
	put(t, first, "a", "1") // nobody disturbed it
	if _, err := os.Stat(filepath.Join(foreign, "member")); err == nil {
		t.Error("etcd was started among other files")
	}
}

func TestUsage(t *testing.T) {
	var out, errs strings.Builder
	for _, row := range []struct {
		args string
		out  string
		code int
	}{
		{"--version", "flannel-etcd dev (etcd " + etcd.Version + ")\ncommit unknown, go", 0},
		{"--help", "Usage: flannel-etcd [OPTION]...", 0},
		{"-h", "Usage: flannel-etcd [OPTION]...", 0},
		{"--data-dri=/x", "", 2},
	} {
		out.Reset()
		errs.Reset()
		err := run(t.Context(), []string{"flannel-etcd", row.args}, nil, &out, &errs)
		if code := status(err, &errs); code != row.code || !strings.HasPrefix(out.String(), row.out) {
			t.Errorf("%s: status %d, %q", row.args, code, out.String())
		}
		if failed := strings.HasPrefix(errs.String(), "error: ") && strings.Contains(errs.String(), "\nhint: "); failed != (row.code == 2) {
			t.Errorf("%s: says %q", row.args, errs.String())
		}
	}
}
