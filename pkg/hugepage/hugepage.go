// Package hugepage makes buffers of which the kernel is asked to keep in huge pages:
// what is spread over megabytes then needs a few entries of the processor's
// translation cache in place of hundreds.
package hugepage

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Size is that of a huge page, in bytes, where pages have 4 KiB. With larger ones the
// kernel has other sizes and keeps to small pages.
const Size = 2 << 20

// Make returns a buffer of n zero bytes that begins a huge page. Huge are as many pages
// as it fills; make it a multiple of Size if the rest matters. Whether the kernel does
// what it is asked for is /sys/kernel/mm/transparent_hugepage/enabled's to say, and
// nothing else depends on it.
//
// The buffer is the garbage collector's. Its pages are taken when they are first
// touched, a huge one at a time.
func Make(n int) []byte {
	b := make([]byte, n+Size)
	begin := -int(uintptr(unsafe.Pointer(&b[0]))) & (Size - 1)
	b = b[begin:][:n:n]
	if whole := n &^ (Size - 1); whole > 0 {
		_ = unix.Madvise(b[:whole], unix.MADV_HUGEPAGE)
	}
	return b
}
