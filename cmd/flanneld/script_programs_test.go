package main

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab/script"
)

// attached are the programs and maps of a host's filters, by their numbers.
type attached map[*script.Node]struct{ programs, maps []uint32 }

var filterProgram = regexp.MustCompile(` id (\d+) name`)

// programs prints which programs are attached at the host's devices, and their maps, and
// remembers them.
func (a attached) programs(s *script.Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err != nil {
		return "", err
	}
	out, err := n.Output("sh", "-c", "for d in /sys/class/net/*; do for w in ingress egress; do tc filter show dev ${d##*/} $w 2>/dev/null; done; done")
	if err != nil {
		return "", err
	}
	var all string
	is := a[n]
	is.programs, is.maps = nil, nil
	for _, m := range filterProgram.FindAllStringSubmatch(out, -1) {
		var id uint32
		if _, err := fmt.Sscan(m[1], &id); err != nil {
			return "", err
		}
		maps, err := mapsOf(id)
		if err != nil {
			return "", fmt.Errorf("program %d: %w", id, err)
		}
		is.programs, is.maps = append(is.programs, id), append(is.maps, maps...)
		all += fmt.Sprintf("program %d: %s\n", id, strings.Trim(fmt.Sprint(maps), "[]"))
	}
	a[n] = is
	return all, nil
}

// ended fails while the kernel has one of the programs or maps that were remembered.
func (a attached) ended(s *script.Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err != nil {
		return "", err
	}
	is := a[n]
	if len(is.programs) == 0 || len(is.maps) == 0 {
		return "", script.Mistake("no programs of %s are known", args[0])
	}
	for _, ids := range []struct {
		of      string
		command uintptr
		all     []uint32
	}{{"program", unix.BPF_PROG_GET_FD_BY_ID, is.programs}, {"map", unix.BPF_MAP_GET_FD_BY_ID, is.maps}} {
		for _, id := range ids.all {
			if fd, err := open(ids.command, id); err == nil {
				_ = unix.Close(fd)
				return "", fmt.Errorf("%s %d is there", ids.of, id)
			} else if !errors.Is(err, unix.ENOENT) {
				return "", err
			}
		}
	}
	return "", nil
}

// open is one of bpf(2)'s commands that make a descriptor of a number.
func open(command uintptr, id uint32) (int, error) {
	attr := struct{ id, next, flags uint32 }{id: id}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// mapsOf returns the maps of a program.
func mapsOf(id uint32) ([]uint32, error) {
	fd, err := open(unix.BPF_PROG_GET_FD_BY_ID, id)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	ids := make([]uint32, 16)
	// The beginning of struct bpf_prog_info of linux/bpf.h.
	info := struct {
		_       [52]byte
		maps    uint32
		address uint64
	}{maps: uint32(len(ids)), address: uint64(uintptr(unsafe.Pointer(&ids[0])))}
	attr := struct {
		fd, size uint32
		info     uint64
	}{uint32(fd), uint32(unsafe.Sizeof(info)), uint64(uintptr(unsafe.Pointer(&info)))}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET_INFO_BY_FD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(&ids)
	runtime.KeepAlive(&info)
	if errno != 0 {
		return nil, errno
	}
	return ids[:min(int(info.maps), len(ids))], nil
}
