package systemd

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// FuzzHanded: no more descriptors are taken than have names, whatever the number is,
// and the names are those that were written.
func FuzzHanded(f *testing.F) {
	f.Add("7", "2", "tun:udp")
	f.Add("7", "2000000000", "tun")
	f.Add("7", "-1", "a:b")
	f.Add("8", "1", "a")
	f.Add("7", "3", "a::b")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, pid, count, names string) {
		got := handed(7, pid, count, names)
		n, err := strconv.Atoi(count)
		if len(got) > 0 && (err != nil || len(got) > n) || len(got) > strings.Count(names, ":")+1 {
			t.Errorf("%q are handed over of %q, %q", got, count, names)
		}
		if !strings.HasPrefix(names+":", strings.Join(append(got, ""), ":")) {
			t.Errorf("%q are read of %q", got, names)
		}
	})
}

// TestOpenFDStoreDoesNotBelieveANumber that would make it take what is not kept, or all
// memory.
func TestOpenFDStoreDoesNotBelieveANumber(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("LISTEN_FDS", "2000000000")
	t.Setenv("LISTEN_FDNAMES", "")
	if s := OpenFDStore(); len(s.kept) != 0 {
		t.Errorf("took %v", s.kept)
	}
	if _, ok := os.LookupEnv("LISTEN_FDS"); ok {
		t.Error("children get LISTEN_FDS")
	}
}
