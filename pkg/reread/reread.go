// Package reread keeps a value equal to the files that it is made of. It does not know
// what the value is, and logs nothing itself.
package reread

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"flanneld/pkg/logonce"
)

// every is the longest time for which the files are not read again.
const every = 5 * time.Second

// maxSize bounds a file, in bytes: the system's bundle of all authorities is a fifth of it.
const maxSize = 1 << 20

// Value is made of the files. While they make none, as when they are being replaced, it
// is the last one. Safe for concurrent use; its functions are called one at a time.
type Value[T any] struct {
	parse func(files []string) (T, error)
	after func(value T, changed bool, err error)
	paths []string

	mu     sync.Mutex
	looked time.Time
	files  []string // what value was made of
	value  T
	failed logonce.Line
}

// Open reads the files at the paths, of which an empty one is an empty file, and parses
// their contents. After is called each time that they were read again: changed says
// that there is a new value, an error that there is none, once for its text.
func Open[T any](paths []string, parse func(files []string) (T, error), after func(value T, changed bool, err error)) (*Value[T], error) {
	v := &Value[T]{parse: parse, after: after, paths: paths, looked: time.Now()}
	files, err := v.read()
	if err == nil {
		v.files = files
		v.value, err = parse(files)
	}
	return v, err
}

// Get returns the value that the files make now, or did a few seconds ago.
func (v *Value[T]) Get() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.looked) >= every {
		v.look()
	}
	return v.value
}

// Look reads the files now.
func (v *Value[T]) Look() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.look()
}

func (v *Value[T]) look() {
	v.looked = time.Now()
	files, err := v.read()
	changed := false
	if err == nil && !slices.Equal(files, v.files) {
		var value T
		if value, err = v.parse(files); err == nil {
			v.files, v.value, changed = files, value, true
		}
	}
	if !v.failed.ChangedError(err) {
		err = nil
	}
	v.after(v.value, changed, err)
}

func (v *Value[T]) read() ([]string, error) {
	files := make([]string, len(v.paths))
	for i, path := range v.paths {
		if path == "" {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
		_ = f.Close() // it was only read
		if err == nil && len(b) > maxSize {
			err = fmt.Errorf("read %s: it is larger than %d bytes", path, maxSize)
		}
		if err != nil {
			return nil, err
		}
		files[i] = string(b)
	}
	return files, nil
}
