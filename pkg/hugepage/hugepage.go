// Package hugepage allocates buffers that the kernel is asked to back with huge pages,
// which saves entries of the processor's translation cache. It does not know what the
// buffers are for.
package hugepage

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Size is the size in bytes of a huge page where pages have 4 KiB. Where they are
// larger, the kernel keeps the buffer in small pages.
const Size = 2 << 20

// Make returns a buffer of n zero bytes that begins at a multiple of Size. Only the
// pages that it fills become huge, and only if
// /sys/kernel/mm/transparent_hugepage/enabled allows it. The garbage collector frees
// the buffer; a page takes memory when it is first used.
func Make(n int) []byte {
	b := make([]byte, n+Size)
	begin := -int(uintptr(unsafe.Pointer(&b[0]))) & (Size - 1)
	b = b[begin:][:n:n]
	if whole := n &^ (Size - 1); whole > 0 {
		_ = unix.Madvise(b[:whole], unix.MADV_HUGEPAGE)
	}
	return b
}
