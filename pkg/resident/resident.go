// Package resident makes a process smaller when it has done its work for a while: it gives back
// memory that only that work needed. It does not know when that is over.
package resident

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

// Trim gives back free memory, and unmaps those pages of the program that are in memory.
// Code that runs again finds its page where it was, in the page cache, at the price of a
// minor fault. The start of a large program runs most of its packages' code once, and what
// stays mapped counts as the process's own: for who watches it, and for the kernel when it
// chooses which process to kill.
func Trim() error {
	debug.FreeOSMemory()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("list this program's memory: %w", err)
	}
	name, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	var failed error
	for _, r := range readOnly(maps, name) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.from, r.to-r.from, unix.MADV_DONTNEED); errno != 0 {
			failed = errors.Join(failed, fmt.Errorf("unmap %#x-%#x of %s: %w", r.from, r.to, name, errno))
		}
	}
	return failed
}

// span is addresses from one to before another.
type span struct{ from, to uintptr }

// readOnly returns where the file lies in a process's memory and was never written: what
// was written would be lost. Maps are as proc(5) describes them.
func readOnly(maps []byte, file string) (all []span) {
	for line := range bytes.Lines(maps) {
		field := bytes.Fields(line)
		if len(field) < 6 || len(field[1]) != 4 || field[1][1] != '-' || field[1][3] != 'p' {
			continue
		}
		// The file's name is all that is left: it may have blanks, and a replaced file has "(deleted)".
		if name := bytes.TrimRight(line[bytes.Index(line, field[5]):], "\n"); string(name) != file {
			continue
		}
		from, to, _ := bytes.Cut(field[0], []byte("-"))
		a, err := strconv.ParseUint(string(from), 16, strconv.IntSize)
		b, err2 := strconv.ParseUint(string(to), 16, strconv.IntSize)
		if err == nil && err2 == nil && a < b {
			all = append(all, span{uintptr(a), uintptr(b)})
		}
	}
	return all
}
