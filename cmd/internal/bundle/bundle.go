// Package bundle puts into one file what somebody else needs to see of a host, to find out
// what is wrong with it. It decides what that is, and takes out what is secret; it does not
// judge what it finds.
package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"flanneld/pkg/smallfile"
)

const (
	mostText    = 32 << 20         // bytes of one entry
	commandTime = 20 * time.Second // of one command
)

// Entry is one text of a bundle.
type Entry struct {
	Name string // its path in the bundle
	Read func(context.Context) (string, error)
}

// Item is what has become of an Entry.
type Item struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`           // zero: it is not in the bundle
	Error string `json:"error,omitempty"` // why not, or not all of it
}

// Write writes a gzipped tar archive, with everything in the directory of that name, through
// the redactor, a list of the contents last. It returns the list. The error is the writer's:
// what cannot be read is left out, and the list says why.
func Write(ctx context.Context, w io.Writer, dir string, entries []Entry, redact *Redactor) ([]Item, error) {
	zip := gzip.NewWriter(w)
	archive := tar.NewWriter(zip)
	now := time.Now()
	add := func(name, text string) error {
		err := archive.WriteHeader(&tar.Header{Name: dir + "/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: now, Format: tar.FormatPAX})
		if err == nil {
			_, err = io.WriteString(archive, text)
		}
		return err
	}
	var items []Item
	for _, e := range entries {
		if ctx.Err() != nil {
			return items, ctx.Err()
		}
		text, err := e.Read(ctx)
		text = redact.Text(text)
		item := Item{Name: e.Name, Bytes: len(text)}
		if err != nil {
			item.Error = redact.Text(err.Error())
		}
		items = append(items, item)
		if text == "" {
			continue
		}
		if err := add(e.Name, text); err != nil {
			return items, err
		}
	}
	var list strings.Builder
	for _, i := range items {
		fmt.Fprintln(&list, i)
	}
	if err := add("contents.txt", list.String()); err != nil {
		return items, err
	}
	return items, errors.Join(archive.Close(), zip.Close())
}

// String returns a line of the list.
func (i Item) String() string {
	line := fmt.Sprintf("%9d  %s", i.Bytes, i.Name)
	if i.Error != "" {
		line += "  (" + i.Error + ")"
	}
	return line
}

// command is an entry of what a program prints. One that is not installed is none of the
// host's faults.
func command(name, program string, args ...string) Entry {
	return Entry{name, func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, commandTime)
		defer cancel()
		out := new(bounded)
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, out, time.Second
		cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=cat")
		err := cmd.Run()
		if errors.Is(err, exec.ErrNotFound) {
			return "", fmt.Errorf("%s is not installed", program)
		}
		if out.cut {
			err = errors.Join(err, fmt.Errorf("the first %d bytes", mostText))
		}
		return out.String(), err
	}}
}

// bounded is a buffer that keeps the beginning.
type bounded struct {
	bytes.Buffer
	cut bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := mostText - b.Len(); len(p) > room {
		b.cut = true
		_, _ = b.Buffer.Write(p[:room])
	} else {
		_, _ = b.Buffer.Write(p)
	}
	return len(p), nil
}

// file is an entry of a file below a root.
func file(root, path string) Entry {
	return Entry{"files" + path, func(context.Context) (string, error) { return readFile(root, path) }}
}

func readFile(root, path string) (string, error) {
	text, err := smallfile.Read(filepath.Join(root, path), mostText)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("there is none")
	}
	return string(text), err
}
