package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	etcd "go.etcd.io/etcd/api/v3/version"
)

const backupsKept = 2

// claim makes the data this etcd's: if another version has used them last, they
// are copied first. It returns the copy's path, empty if none was needed.
func claim(dir string, d data, now time.Time) (copied string, err error) {
	if d.Last == etcd.Version {
		return "", nil
	}
	if !d.Fresh {
		from := "etcd-" + d.Last
		if d.Last == "" {
			from = "other-etcd"
		}
		copied = filepath.Join(dir, backupDir, now.UTC().Format("20060102T150405Z")+"-"+from)
		if err := backup(filepath.Join(dir, memberDir), copied); err != nil {
			return "", fmt.Errorf("copy the data before another version of etcd uses them: %w (make room, or copy %s elsewhere yourself and write %q into %s)",
				err, memberDir, etcd.Version, filepath.Join(dir, versionFile))
		}
	}
	return copied, writeVersion(filepath.Join(dir, versionFile), etcd.Version)
}

// backup copies the member's directory into another, which is there as a whole
// or not at all, and removes all but the latest backups.
func backup(member, to string) error {
	tmp := to + ".tmp"
	if err := copyTree(member, filepath.Join(tmp, memberDir)); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, to); err != nil {
		return err
	}
	all, err := os.ReadDir(filepath.Dir(to)) // by name, and so by age
	if err != nil {
		return err
	}
	for _, e := range all[:max(0, len(all)-backupsKept)] {
		if err := os.RemoveAll(filepath.Join(filepath.Dir(to), e.Name())); err != nil {
			return err
		}
	}
	return syncFile(filepath.Dir(to))
}

// copyTree copies directories and files; there is nothing else in etcd's.
func copyTree(from, to string) error {
	var dirs []string
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if e.IsDir() {
			dirs = append(dirs, target)
			return os.MkdirAll(target, 0o700)
		}
		return copyFile(path, target)
	})
	for _, d := range slices.Backward(dirs) {
		err = errors.Join(err, syncFile(d))
	}
	return err
}

// copyFile leaves holes for zeros: etcd's logs are mostly made of those, and
// 64 MB each with some releases.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	const block = 64 << 10
	buf, zeros := make([]byte, block), make([]byte, block)
	var size int64
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := out.WriteAt(buf[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := out.Truncate(size); err != nil {
		return err
	}
	return out.Sync()
}

// writeVersion replaces the file at once.
func writeVersion(path, version string) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(version+"\n"), 0o600); err != nil {
		return err
	}
	if err := syncFile(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncFile(filepath.Dir(path))
}

// syncFile waits until a file or directory is on the disk.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
