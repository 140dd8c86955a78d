package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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
	p := launch(t, at[0], "--data-dir="+dir)
	if status := p.exit(t); status != 1 || !strings.Contains(p.log.String(), "another process uses it") {
		t.Errorf("status %d beside a running etcd", status)
	}
	old.kill()

	before := tree(t, filepath.Join(dir, memberDir))
	p = single(t, dir)
	want(t, p, "a", "1")
	put(t, p, "a", "2")
	p.terminate(t)

	backups, err := os.ReadDir(filepath.Join(dir, backupDir))
	if err != nil || len(backups) != 1 || !strings.HasSuffix(backups[0].Name(), "-other-etcd") {
		t.Fatalf("backups are %v, %v", backups, err)
	}
	copied := filepath.Join(dir, backupDir, backups[0].Name(), memberDir)
	if after := tree(t, copied); after != before {
		t.Errorf("the copy differs: %s, %s", before, after)
	}
	if size := stat(t, onlyFile(t, filepath.Join(copied, "wal", "0*.wal"))).Sys().(*syscall.Stat_t).Blocks * 512; size > 2<<20 {
		t.Errorf("the copy of a log takes %d bytes", size)
	}

	// It is restored as docs/etcd.md says.
	if err := os.RemoveAll(filepath.Join(dir, memberDir)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", copied, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p = single(t, dir)
	want(t, p, "a", "1")
}

func onlyFile(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	return files[0]
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
		if err := os.MkdirAll(filepath.Join(dir, memberDir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, memberDir, "wal", "0.wal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(filepath.Join(dir, memberDir, "snap", "db"), 0o600, nil)
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
		want  data
		err   string
	}{
		{"of a moment's life", nil, nil, data{}, ""},
		{"of 3.4", map[string]string{"cluster/clusterVersion": "3.4.0"}, nil, data{DB: "3.4.0"}, ""},
		{"ours", map[string]string{"cluster/clusterVersion": "3.5.0"}, write(versionFile, "3.5.35\n"), data{DB: "3.5.0", Last: "3.5.35"}, ""},
		{"of 3.6, cluster", map[string]string{"cluster/clusterVersion": "3.6.0"}, nil, data{}, "is of etcd 3.6.0"},
		{"of 3.6, storage", map[string]string{"cluster/clusterVersion": "3.5.0", "meta/storageVersion": "3.6.0"}, nil, data{}, "is of etcd 3.6.0"},
		{"of 4", map[string]string{"meta/storageVersion": "4.0.0"}, nil, data{}, "is of etcd 4.0.0"},
		{"of nobody knows what", map[string]string{"meta/storageVersion": "next"}, nil, data{}, "is of etcd next"},
		{"used by a later flannel-etcd", nil, write(versionFile, "3.6.1"), data{}, "is of etcd 3.6.1"},
		{"a version that is none", nil, write(versionFile, "new"), data{}, `"new", which is no version`},
		{"no database", nil, func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, memberDir, "snap", "db")); err != nil {
				t.Fatal(err)
			}
		}, data{}, "it is of an etcd 2, or damaged"},
		{"an empty database", nil, write("member/snap/db", ""), data{}, "it is of an etcd 2, or damaged"},
		{"no database at all", nil, write("member/snap/db", strings.Repeat("no database ", 2000)), data{}, "restore a backup"},
		{"half a database", map[string]string{"cluster/x": strings.Repeat("x", 1<<20), "cluster/clusterVersion": "3.5.0"}, func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, memberDir, "snap", "db"), 8192); err != nil {
				t.Fatal(err)
			}
		}, data{}, "restore a backup"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := database(t, row.set)
			if row.after != nil {
				row.after(t, dir)
			}
			before := tree(t, dir)
			got, err := inspect(dir)
			if row.err == "" && (err != nil || got != row.want) || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
				t.Errorf("inspect() = %+v, %v; want %+v, %q", got, err, row.want, row.err)
			}
			if tree(t, dir) != before {
				t.Error("inspect changed something")
			}
		})
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "absent")} {
		if got, err := inspect(dir); err != nil || !got.Fresh {
			t.Errorf("inspect(%s) = %+v, %v", dir, got, err)
		}
	}
}

func TestLockIsHeldOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	f, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); !errors.Is(err, errLocked) {
		t.Errorf("lockDir again: %v", err)
	}
	f.Close()
	if f, err = lockDir(dir); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("it leaves %v, %v", entries, err)
	}
}

func TestClaim(t *testing.T) {
	dir := database(t, nil)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, last := range []string{"", "3.5.1", "3.5.2"} {
		if _, err := claim(dir, data{Last: last}, now.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if copied, err := claim(dir, data{Last: etcd.Version}, now); err != nil || copied != "" {
		t.Errorf("claim() of our own = %q, %v", copied, err)
	}
	all, err := os.ReadDir(filepath.Join(dir, backupDir))
	if err != nil || len(all) != backupsKept || all[0].Name() != "20260101T010000Z-etcd-3.5.1" {
		t.Errorf("backups are %v, %v", all, err)
	}
	if v, err := readVersion(filepath.Join(dir, versionFile)); err != nil || v != etcd.Version {
		t.Errorf("version is %q, %v", v, err)
	}
	// One that cannot be made keeps the data from being touched.
	if err := os.RemoveAll(filepath.Join(dir, backupDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, backupDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := claim(dir, data{Last: "3.5.1"}, now); err == nil || !strings.Contains(err.Error(), "copy the data before") {
		t.Errorf("claim() = %v", err)
	}
	fresh := t.TempDir()
	if copied, err := claim(fresh, data{Fresh: true}, now); err != nil || copied != "" {
		t.Errorf("claim() of nothing = %q, %v", copied, err)
	}
}

func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{"3.5.35", "3.6.0", "4", "3.", "-1.0", "3.5.0-alpha", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		major, minor, ok := parseVersion(s)
		if ok && (major < 0 || minor < 0) {
			t.Errorf("parseVersion(%q) = %d, %d", s, major, minor)
		}
		if !ok && s != "" && !newer(s) {
			t.Errorf("%q is taken for ours", s)
		}
	})
}
