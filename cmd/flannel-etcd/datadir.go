package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/coreos/go-semver/semver"
	bolt "go.etcd.io/bbolt"
	etcd "go.etcd.io/etcd/api/v3/version"
)

// inspect looks at a data directory and changes nothing. An error says why it must be
// left alone.
func inspect(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	fresh := true
	for _, e := range entries {
		switch e.Name() {
		case "member":
			fresh = false
		case "etcd-version", "backup", "lost+found": // the first two are of earlier versions of this program
		default:
			return fmt.Errorf("data directory %s has %s in it, which is not of an etcd (give another --data-dir)", dir, e.Name())
		}
	}
	if fresh {
		return nil
	}
	db := filepath.Join(dir, "member", "snap", "db")
	info, err := os.Stat(db)
	wals, _ := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if len(wals) == 0 && (errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0) {
		return nil // the first start was cut short
	}
	if err != nil || info.Size() == 0 {
		return fmt.Errorf("data directory %s has no database %s: it is of an etcd 2, or damaged (restore a backup, or give another --data-dir)", dir, db)
	}
	versions, err := readDB(db)
	if err != nil {
		return fmt.Errorf("look into data directory %s: %w", dir, err)
	}
	if i := slices.IndexFunc(versions, newer); i >= 0 {
		return fmt.Errorf("data directory %s is of etcd %s, and this program has etcd %s: it is left untouched (use that etcd, or give another --data-dir)", dir, versions[i], etcd.Version)
	}
	return nil
}

// readDB returns the versions that a database of etcd names. One that lived only for some
// seconds names none.
func readDB(path string) (versions []string, err error) {
	// A database that was cut short faults where it is mapped.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("read database: %v (it is damaged: restore a backup)", r)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second}) // another etcd may be about to end
	if errors.Is(err, bolt.ErrTimeout) {
		return nil, errors.New("another process uses it (stop the other etcd, or give another --data-dir)")
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w (if it is damaged, restore a backup)", err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		for _, at := range [][2]string{{"cluster", "clusterVersion"}, {"meta", "storageVersion"}} { // the second since etcd 3.6
			if b := tx.Bucket([]byte(at[0])); b != nil && b.Get([]byte(at[1])) != nil {
				versions = append(versions, string(b.Get([]byte(at[1]))))
			}
		}
		return nil
	})
	return versions, err
}

// newer reports whether data of a version are not for this program's etcd. Data of a
// version that cannot be read are, too: they may be of a later etcd. Within a minor
// version, data can go back and forth.
func newer(v string) bool {
	its, err := semver.NewVersion(v)
	own := semver.New(etcd.Version)
	return err != nil || its.Major > own.Major || its.Major == own.Major && its.Minor > own.Minor
}
