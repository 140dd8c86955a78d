package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	etcd "go.etcd.io/etcd/api/v3/version"
	"golang.org/x/sys/unix"
)

const (
	memberDir   = "member"       // etcd's
	versionFile = "etcd-version" // of the etcd that has used the data last
	backupDir   = "backup"

	lockWait = time.Second // for an etcd that is about to end
)

// data is what is known of a directory without having changed it.
type data struct {
	Fresh bool   // there are none yet
	Last  string // version of the flannel-etcd's etcd that has used it last; empty: another etcd has
	DB    string // version that the database says it is of; empty: it does not say
}

// errLocked: another process uses the data.
var errLocked = errors.New("another process uses it")

// lockDir makes the directory if need be, and keeps other flannel-etcds out of it
// until the file is closed or the process ends. It leaves no file behind.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errLocked
		}
		return nil, fmt.Errorf("lock data directory %s: %w (stop the other flannel-etcd, or give another --data-dir)", dir, err)
	}
	return f, nil
}

// inspect looks at a data directory and changes nothing. An error says why it
// must be left alone.
func inspect(dir string) (data, error) {
	var d data
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return data{Fresh: true}, nil
	}
	if err != nil {
		return d, err
	}
	d.Fresh = true
	for _, e := range entries {
		switch e.Name() {
		case memberDir:
			d.Fresh = false
		case versionFile, backupDir, "lost+found":
		default:
			return d, fmt.Errorf("data directory %s has %s in it, which is not of an etcd (give another --data-dir)", dir, e.Name())
		}
	}
	if d.Last, err = readVersion(filepath.Join(dir, versionFile)); err != nil {
		return d, err
	}
	if d.Fresh {
		return d, nil
	}
	db := filepath.Join(dir, memberDir, "snap", "db")
	info, err := os.Stat(db)
	wals, _ := filepath.Glob(filepath.Join(dir, memberDir, "wal", "*.wal"))
	if len(wals) == 0 && (errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0) {
		d.Fresh = true // the first start was cut short
		return d, nil
	}
	if err != nil || info.Size() == 0 {
		return d, fmt.Errorf("data directory %s has no database %s: it is of an etcd 2, or damaged (restore a backup, or give another --data-dir)", dir, db)
	}
	if d.DB, err = readDB(db); err != nil {
		return d, fmt.Errorf("look into data directory %s: %w", dir, err)
	}
	for _, v := range []string{d.DB, d.Last} {
		if newer(v) {
			return d, fmt.Errorf("data directory %s is of etcd %s, and this program has etcd %s: it is left untouched (use that etcd, or give another --data-dir)", dir, v, etcd.Version)
		}
	}
	return d, nil
}

// readDB returns the highest version that a database of etcd names, empty if
// none: one that lived only for some seconds does not.
func readDB(path string) (version string, err error) {
	// A database that was cut short faults where it is mapped.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("read database: %v (it is damaged: restore a backup)", r)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: lockWait})
	if errors.Is(err, bolt.ErrTimeout) {
		return "", fmt.Errorf("%w (stop the other etcd, or give another --data-dir)", errLocked)
	}
	if err != nil {
		return "", fmt.Errorf("open database: %w (if it is damaged, restore a backup)", err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		for _, at := range [][2]string{
			{"cluster", "clusterVersion"},
			{"meta", "storageVersion"}, // etcd 3.6 and later
		} {
			b := tx.Bucket([]byte(at[0]))
			if b == nil {
				continue
			}
			if v := string(b.Get([]byte(at[1]))); version == "" || less(version, v) {
				version = v
			}
		}
		return nil
	})
	return version, err
}

// readVersion returns what a file that writeVersion wrote says, empty if there
// is none.
func readVersion(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	v := strings.TrimSpace(string(b))
	if _, _, ok := parseVersion(v); !ok {
		return "", fmt.Errorf("%s has %q, which is no version of etcd (remove the file if the data are of etcd %s or older)", path, v, etcd.Version)
	}
	return v, nil
}

// newer reports whether data of a version are not for this program's etcd. What
// is no version is: it may be of a later etcd.
func newer(v string) bool {
	if v == "" {
		return false
	}
	_, _, ok := parseVersion(v)
	return !ok || less(etcd.Version, v)
}

// less compares major and minor; within these, data can go back and forth.
func less(a, b string) bool {
	aMajor, aMinor, _ := parseVersion(a)
	bMajor, bMinor, _ := parseVersion(b)
	return aMajor < bMajor || aMajor == bMajor && aMinor < bMinor
}

// parseVersion reads the first two numbers of "3.5.35" and the like.
func parseVersion(v string) (major, minor int, ok bool) {
	a, rest, ok := strings.Cut(v, ".")
	b, _, _ := strings.Cut(rest, ".")
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, ok && err1 == nil && err2 == nil && major >= 0 && minor >= 0
}
