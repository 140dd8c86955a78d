// Package hugepage allocates buffers that the kernel is asked to back with huge pages,
// which saves entries of the processor's translation cache. It does not know what the
// buffers are for.
package hugepage

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Size is the size in bytes of a huge page where pages have 4 KiB. Where they are
// larger, the kernel keeps the buffer in small pages.
const Size = 2 << 20

// Make returns a buffer of n zero bytes that begins at a multiple of Size, and the
// function that frees it: the garbage collector does not know it. A page takes memory when
// it is first used. Pages become huge only if /sys/kernel/mm/transparent_hugepage/enabled
// allows it.
func Make(n int) (b []byte, free func(), err error) {
	length := uintptr(n+2*Size-1) &^ (Size - 1)
	p, err := unix.MmapPtr(-1, 0, nil, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, nil, fmt.Errorf("map %d bytes of memory: %w", length, err)
	}
	all := unsafe.Slice((*byte)(p), length)
	b = all[-uintptr(p)&(Size-1):]
	_ = unix.Madvise(b[:(n+Size-1)&^(Size-1)], unix.MADV_HUGEPAGE)
	return b[:n:n], func() { _ = unix.MunmapPtr(p, length) }, nil
}
