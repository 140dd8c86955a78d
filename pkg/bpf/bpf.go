// Package bpf loads programs into the kernel that bpfgen compiled when they were written:
// no compiler and no ELF reader is part of the product. It knows what a program is, and not
// what any does, nor where it is attached.
//
// It takes the place of github.com/cilium/ebpf, which reads ELF and BTF and relocates for
// other kernels: that is 1.2 MB (11.04 MB become 12.27), of which these programs, which
// have no loops, no BTF and no calls of each other, need nothing.
package bpf

import (
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Program is a program as bpfgen writes it.
type Program struct {
	Name string // up to 15 letters, digits and underscores
	Kind uint32 // unix.BPF_PROG_TYPE_*
	Code string // the instructions in this machine's byte order, as base64
}

// insnSize is the size of a struct bpf_insn of linux/bpf.h, in bytes.
const insnSize = 8

// Load loads the program and returns its descriptor, which the caller closes. The error
// has what the kernel's verifier says, if that refuses the program.
func (p Program) Load() (fd int, err error) {
	code, err := base64.StdEncoding.DecodeString(p.Code)
	if err != nil || len(code) == 0 {
		return -1, fmt.Errorf("load program %s: it is damaged: %w", p.Name, err)
	}
	fd, err = load(p, code, nil)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL) {
		// The verifier's. Its words take time, so they are asked for only now.
		log := make([]byte, 256<<10)
		if fd, err = load(p, code, log); err != nil {
			err = fmt.Errorf("%w: %s", err, lastLines(unix.ByteSliceToString(log)))
		}
	}
	if err != nil {
		return -1, fmt.Errorf("load program %s: %w", p.Name, err)
	}
	return fd, nil
}

func load(p Program, code, log []byte) (int, error) {
	license := [1]byte{}
	// The beginning of union bpf_attr of linux/bpf.h; what follows is zero.
	attr := struct {
		kind, count    uint32
		code, license  uint64
		level, logSize uint32
		log            uint64
		version, flags uint32
		name           [16]byte
	}{
		kind: p.Kind, count: uint32(len(code) / insnSize), code: address(code), license: address(license[:]),
	}
	copy(attr.name[:15], p.Name)
	if log != nil {
		attr.level, attr.logSize, attr.log = 1, uint32(len(log)), address(log)
	}
	fd, err := call(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(code)
	runtime.KeepAlive(&license)
	runtime.KeepAlive(log)
	return fd, err
}

// lastLines returns the end of the verifier's log, which says what is wrong.
func lastLines(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "; ")
}

// call is bpf(2).
func call(command uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
