package resident

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const maps = `00400000-00cee000 r-xp 00000000 08:01 1234                       /usr/bin/a program
00cee000-01747000 r--p 008ee000 08:01 1234                       /usr/bin/a program
01747000-017c4000 rw-p 01347000 08:01 1234                       /usr/bin/a program
017c4000-0380a000 rw-p 00000000 00:00 0
7fd37a0b0000-7fd37a500000 r--s 00000000 08:01 1234               /usr/bin/a program
7fd3c0f7f000-7fd3c0f81000 r-xp 00000000 00:00 0                  [vdso]
7fd3c0f82000-7fd3c0f83000 r-xp 00000000 08:01 99                 /usr/lib/libc.so.6
`

func TestOnlyTheProgramsOwnPagesAreUnmapped(t *testing.T) {
	if got, want := readOnly([]byte(maps), "/usr/bin/a program"), []span{{0x400000, 0xcee000}, {0xcee000, 0x1747000}}; !slices.Equal(got, want) {
		t.Errorf("got %#x, want %#x", got, want)
	}
	deleted := strings.ReplaceAll(maps, "a program\n", "a program (deleted)\n")
	if got := readOnly([]byte(deleted), "/usr/bin/a program (deleted)"); len(got) != 2 {
		t.Errorf("of a program whose file was replaced: %#x", got)
	}
	if got := readOnly([]byte(maps), "/usr/bin/another"); got != nil {
		t.Errorf("of another program: %#x", got)
	}
}

// TestTrim is code of this program, which goes on to run.
func TestTrim(t *testing.T) {
	before := fileKiB(t)
	if err := Trim(); err != nil {
		t.Fatal(err)
	}
	after := fileKiB(t)
	t.Logf("%d KiB of files are in memory, %d before", after, before)
	if after >= before {
		t.Error("nothing was given back")
	}
}

// fileKiB is the memory of this process that lies in files.
func fileKiB(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if size, ok := strings.CutPrefix(line, "RssFile:"); ok {
			n, err := strconv.Atoi(strings.Fields(size)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Skip("this kernel does not tell")
	return 0
}

func FuzzReadOnly(f *testing.F) {
	f.Add(maps)
	f.Add("ffffffffffffffffff-0 r-xp 0 0 0 /usr/bin/a program\n0-1 r--p")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range readOnly([]byte(text), "/usr/bin/a program") {
			if s.from >= s.to {
				t.Errorf("%#x", s)
			}
		}
	})
}
