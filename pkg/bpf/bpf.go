// Package bpf loads programs into the kernel that bpfgen compiled when they were written:
// no compiler and no ELF reader is part of the product. It knows what a program is, and not
// what any does, nor where it is attached.
//
// It takes the place of github.com/cilium/ebpf, whose work is to read ELF and BTF and to adapt
// programs to other kernels' structures. These programs have no BTF, no loops and no calls of each
// other, and look into no structure of the kernel's. What is left are three system calls, which
// stay as they are, and it is easier to say which message a kernel of 2020 gives to a daemon with
// two capabilities. A program that needs BTF would be a reason to change.
package bpf

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Program is a program as bpfgen writes it.
type Program struct {
	Name string // up to 15 letters, digits and underscores
	Kind uint32 // unix.BPF_PROG_TYPE_*
	Code string // the instructions in this machine's byte order, as base64
	Maps []Reference
}

// Reference is an instruction that takes a map.
type Reference struct {
	At  int // its number
	Map string
}

// insnSize is the size of a struct bpf_insn of linux/bpf.h, in bytes.
const insnSize = 8

// Load loads the program with its maps and returns its descriptor, which the caller closes.
// The program keeps the maps. The error has what the kernel's verifier says, if that
// refuses the program.
func (p Program) Load(maps ...*Map) (fd int, err error) {
	code, err := base64.StdEncoding.DecodeString(p.Code)
	if err != nil || len(code) == 0 {
		return -1, fmt.Errorf("load program %s: it is damaged: %w", p.Name, err)
	}
	for _, r := range p.Maps {
		i := slices.IndexFunc(maps, func(m *Map) bool { return m.spec.Name == r.Map })
		if i < 0 {
			return -1, fmt.Errorf("load program %s: it has no map %s", p.Name, r.Map)
		}
		refer(code[r.At*insnSize:], maps[i].fd)
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
		return -1, fmt.Errorf("load program %s: %w", p.Name, refused(err))
	}
	return fd, nil
}

// refer makes an instruction load the address of the map, which the kernel fills in. The
// register fields are two halves of a byte, the first one at the small end of the machine.
func refer(insn []byte, fd int) {
	const pseudoMapFD = 1 // BPF_PSEUDO_MAP_FD, as the source register
	if little := binary.NativeEndian.Uint16([]byte{1, 0}) == 1; little {
		insn[1] |= pseudoMapFD << 4
	} else {
		insn[1] |= pseudoMapFD
	}
	binary.NativeEndian.PutUint32(insn[4:], uint32(fd))
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

// ID returns the number by which the kernel knows a program.
func ID(program int) (uint32, error) {
	var info [8]byte // the beginning of struct bpf_prog_info: type, id
	attr := struct {
		fd, size uint32
		info     uint64
	}{uint32(program), uint32(len(info)), address(info[:])}
	_, err := call(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(&info)
	if err != nil {
		return 0, fmt.Errorf("ask for a program's id: %w", err)
	}
	return binary.NativeEndian.Uint32(info[4:]), nil
}

// Run runs a program of the kind BPF_PROG_TYPE_SCHED_CLS on a frame and returns what it
// returned, and the frame as it is then. Nothing is sent.
func Run(program int, frame []byte) (result uint32, out []byte, err error) {
	return RunSuper(program, frame, 0)
}

// RunSuper is Run for a frame that stands for segments of so many bytes; 0: it does not.
// The kernel lets such a one be looked at, but not be changed.
func RunSuper(program int, frame []byte, segment uint32) (result uint32, out []byte, err error) {
	out = make([]byte, len(frame)+256)
	var context [180]byte // struct __sk_buff of linux/bpf.h, up to its gso_size
	binary.NativeEndian.PutUint32(context[176:], segment)
	attr := struct {
		fd, result, sizeIn, sizeOut uint32
		in, out                     uint64
		repeat, duration            uint32
		contextIn, contextOut       uint32
		context, _                  uint64
	}{fd: uint32(program), sizeIn: uint32(len(frame)), sizeOut: uint32(len(out)), in: address(frame), out: address(out), repeat: 1}
	if segment > 0 {
		attr.contextIn, attr.context = uint32(len(context)), address(context[:])
	}
	_, err = call(unix.BPF_PROG_TEST_RUN, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(frame)
	runtime.KeepAlive(&context)
	if err != nil {
		return 0, nil, fmt.Errorf("run a program: %w", err)
	}
	return attr.result, out[:attr.sizeOut], nil
}

// call is bpf(2).
func call(command uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil // closed by an exec, as all of bpf(2)
}

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
