package main

import (
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// withoutBPF has bpf(2) return an error to this process from now on, as kernels do that were
// built without it (ENOSYS), and containers by default (EPERM).
func withoutBPF(errno string) {
	n, err := strconv.ParseUint(errno, 10, 12)
	if err != nil {
		panic(err)
	}
	// seccomp(2): the number of the call is the first word of struct seccomp_data.
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_BPF, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(n)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	_, _, failed := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if failed != 0 {
		panic(failed)
	}
}
