package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coreos/go-semver/semver"
	bolt "go.etcd.io/bbolt"
	etcd "go.etcd.io/etcd/api/v3/version"
)

// TestDebiansDataAreTakenOver: an etcd 3.4 has used the directory before.
func TestDebiansDataAreTakenOver(t *testing.T) {
	t.Parallel()
	bin, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("etcd is not installed (Debian: etcd-server)")
	}
	dir := t.TempDir()
	at := ports(t, "127.0.0.1", "127.0.0.1")
	old := &proc{url: "http://" + at[0], done: make(chan struct{})}
	old.Cmd = exec.Command(bin, "--enable-v2=true", "--data-dir="+dir, "--listen-client-urls="+old.url, "--advertise-client-urls="+old.url,
		"--listen-peer-urls=http://"+at[1], "--initial-advertise-peer-urls=http://"+at[1], "--initial-cluster=default=http://"+at[1])
	old.Stdout, old.Stderr, old.Env = &old.log, &old.log, []string{}
	if err := old.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(old.done); _ = old.Wait() }()
	t.Cleanup(old.kill)
	eventually(t, func() error {
		_, err := v2(t.Context(), "PUT", old.url, "/v2/keys/a?value=1", nil)
		return err
	})
	putV3(t, old, "b", "1")
	p := launch(t, at[0], "--data-dir="+dir)
	if status := p.exit(t); status != 1 || !strings.Contains(p.log.String(), "another process uses it") {
		t.Errorf("status %d beside a running etcd", status)
	}
	old.kill()

	copied := filepath.Join(t.TempDir(), "member")
	if out, err := exec.Command("cp", "-a", filepath.Join(dir, "member"), copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p = single(t, dir)
	want(t, p, "a", "1")
	wantV3(t, p, "b", "1")
	put(t, p, "a", "2")
	putV3(t, p, "b", "2")
	p.terminate(t)

	// A copy is restored as docs/flannel-etcd.md says.
	if err := os.RemoveAll(filepath.Join(dir, "member")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copied, filepath.Join(dir, "member")); err != nil {
		t.Fatal(err)
	}
	p = single(t, dir)
	want(t, p, "a", "1")
	wantV3(t, p, "b", "1")
}

// tree returns a checksum of all names, modes of directories, and contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		fmt.Fprintln(sum, rel, e.IsDir())
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		sum.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// TestNewerDataAreRefused: the directory was written by etcd 3.6.16; the zeros at
// the end of its log have been cut off.
func TestNewerDataAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unpack(t, filepath.Join("testdata", "etcd-3.6.16.tar.gz"), dir)
	before := tree(t, dir)
	at := ports(t, "127.0.0.1", "127.0.0.1")
	p := launch(t, at[0], "--data-dir="+dir, "--listen-peer-urls=http://"+at[1])
	if status := p.exit(t); status != 1 || !strings.Contains(p.log.String(), "is of etcd 3.6.0, and this program has etcd "+etcd.Version+": it is left untouched") {
		t.Errorf("status %d:\n%s", status, p.log.String())
	}
	if tree(t, dir) != before {
		t.Error("the directory was changed")
	}
}

func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(dir, h.Name)
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(target, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(target, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// database makes a member's directory with a database in which keys of buckets
// are set.
func database(t *testing.T, set map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"snap", "wal"} {
		if err := os.MkdirAll(filepath.Join(dir, "member", sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "member", "wal", "0.wal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(filepath.Join(dir, "member", "snap", "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error {
		for at, value := range set {
			bucket, key, _ := strings.Cut(at, "/")
			b, err := tx.CreateBucketIfNotExists([]byte(bucket))
			if err == nil {
				err = b.Put([]byte(key), []byte(value))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestInspect(t *testing.T) {
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, row := range []struct {
		name  string
		set   map[string]string
		after func(t *testing.T, dir string)
		err   string
	}{
		{"of a moment's life", nil, nil, ""},
		{"of 3.4", map[string]string{"cluster/clusterVersion": "3.4.0"}, nil, ""},
		{"ours", map[string]string{"cluster/clusterVersion": "3.5.0"}, write("etcd-version", "3.5.35\n"), ""},
		{"of 3.6, cluster", map[string]string{"cluster/clusterVersion": "3.6.0"}, nil, "is of etcd 3.6.0"},
		{"of 3.6, storage", map[string]string{"cluster/clusterVersion": "3.5.0", "meta/storageVersion": "3.6.0"}, nil, "is of etcd 3.6.0"},
		{"of 4", map[string]string{"meta/storageVersion": "4.0.0"}, nil, "is of etcd 4.0.0"},
		{"of nobody knows what", map[string]string{"meta/storageVersion": "next"}, nil, "is of etcd next"},
		{"no database", nil, func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "member", "snap", "db")); err != nil {
				t.Fatal(err)
			}
		}, "it is of an etcd 2, or damaged"},
		{"an empty database", nil, write("member/snap/db", ""), "it is of an etcd 2, or damaged"},
		{"no database at all", nil, write("member/snap/db", strings.Repeat("no database ", 2000)), "restore a backup"},
		{"half a database", map[string]string{"cluster/x": strings.Repeat("x", 1<<20), "cluster/clusterVersion": "3.5.0"}, func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "member", "snap", "db"), 8192); err != nil {
				t.Fatal(err)
			}
		}, "restore a backup"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := database(t, row.set)
			if row.after != nil {
				row.after(t, dir)
			}
			before := tree(t, dir)
			err := inspect(dir)
			if row.err == "" && err != nil || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
				t.Errorf("inspect() = %v; want %q", err, row.err)
			}
			if tree(t, dir) != before {
				t.Error("inspect changed something")
			}
		})
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "absent")} {
		if err := inspect(dir); err != nil {
			t.Errorf("inspect(%s) = %v", dir, err)
		}
	}
}

// TestBackup follows docs/flannel-etcd.md: a backup of the v2 API's keys while the member runs.
// With --with-v3, etcdctl would wait for the member to end.
func TestBackup(t *testing.T) {
	t.Parallel()
	dir, saved := t.TempDir(), filepath.Join(t.TempDir(), "saved")
	p := single(t, dir)
	put(t, p, "a", "1")
	putV3(t, p, "a", "1")
	cmd := exec.CommandContext(t.Context(), "etcdctl", "backup", "--data-dir="+dir, "--backup-dir="+saved)
	cmd.Env = []string{"ETCDCTL_API=2"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	put(t, p, "a", "2")
	p.kill()
	p = single(t, saved, "--force-new-cluster")
	want(t, p, "a", "1")
	wantV3(t, p, "a", "") // docs/flannel-etcd.md says so
	p.terminate(t)
	p = single(t, saved)
	want(t, p, "a", "1")
}

// TestSnapshot follows docs/flannel-etcd.md: etcd's own snapshot has the v3 API's keys, and no others.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	saved, dir := filepath.Join(t.TempDir(), "etcd.db"), filepath.Join(t.TempDir(), "restored")
	p := single(t, t.TempDir())
	put(t, p, "b", "1")
	putV3(t, p, "a", "1")
	etcdctl(t, p, "snapshot", "save", saved)
	putV3(t, p, "a", "2")
	p.kill()
	etcdctl(t, p, "snapshot", "restore", saved, "--data-dir="+dir)
	p = single(t, dir)
	wantV3(t, p, "a", "1")
	if got, err := v2(t.Context(), http.MethodGet, p.url, "/v2/keys/b?quorum=true", nil); err == nil {
		t.Errorf("a snapshot has the v2 key %q: docs/flannel-etcd.md says that it has none", got)
	}
	p.terminate(t)
	wantV3(t, single(t, dir), "a", "1")
}

func FuzzNewer(f *testing.F) {
	for _, s := range []string{"3.5.35", "3.6.0", "4", "3.", "-1.0", "3.5.0-alpha", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := semver.NewVersion(s); err != nil && !newer(s) {
			t.Errorf("%q is taken for ours", s)
		}
	})
}
