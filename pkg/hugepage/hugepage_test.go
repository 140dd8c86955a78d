package hugepage

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestMake(t *testing.T) {
	for _, n := range []int{1, 100, Size - 1, Size, Size + 1, 3*Size + 17} {
		b, free, err := Make(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != n || cap(b) != n {
			t.Errorf("Make(%d) has %d bytes and room for %d", n, len(b), cap(b))
		}
		if at := uintptr(unsafe.Pointer(&b[0])); at%Size != 0 {
			t.Errorf("Make(%d) begins at %#x", n, at)
		}
		for i, c := range b {
			if c != 0 {
				t.Fatalf("Make(%d)[%d] = %d", n, i, c)
			}
		}
		b[n-1] = 1
		free()
		if err := unix.Madvise(b, unix.MADV_NORMAL); !errors.Is(err, unix.ENOMEM) {
			t.Errorf("Make(%d), freed: %v, want ENOMEM", n, err)
		}
	}
}

// The kernel says so of the mapping that has the buffer.
func TestPagesAreHuge(t *testing.T) {
	text, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil || strings.Contains(string(text), "[never]") {
		t.Skipf("no transparent huge pages here: %s %v", strings.TrimSpace(string(text)), err)
	}
	if os.Getpagesize() != 4096 {
		t.Skipf("pages have %d bytes", os.Getpagesize())
	}
	const pages = 4
	b, free, err := Make(pages * Size)
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	// The kernel may have no room in a row for one of them, but hardly for none.
	if huge(t, uintptr(unsafe.Pointer(&b[0]))) == 0 {
		t.Errorf("none of %d pages is huge", pages)
	}
}

// huge returns how many KiB of the mapping at an address are in huge pages.
func huge(t *testing.T, at uintptr) (kib int) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inside := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			inside = from <= at && at < to
		}
		if n, _ := fmt.Sscanf(lines.Text(), "AnonHugePages: %d kB", &kib); inside && n == 1 {
			return kib
		}
	}
	t.Fatalf("no mapping has %#x", at)
	return 0
}
