package systemd

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/systemd/fake"
)

// asService makes the test binary a service's second process.
const asService = "FDSTORE_TEST_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(asService) != "" {
		service()
		return
	}
	os.Exit(m.Run())
}

// service prints what it was handed, takes one of the names, and leaves the rest.
func service() {
	s := OpenFDStore()
	for _, name := range []string{"pipe", "none"} {
		for _, fd := range s.Take(name) {
			text := make([]byte, 10)
			n, _ := unix.Read(fd, text)
			os.Stdout.WriteString(name + ":" + string(text[:n]) + "\n")
		}
	}
	if os.Getenv("LISTEN_FDS") != "" {
		os.Stdout.WriteString("children get LISTEN_FDS\n")
	}
	if err := s.Close(); err != nil {
		os.Stdout.WriteString(err.Error())
	}
}

// testManager is a fake manager that is the process's own.
type testManager struct {
	fake.Manager
	messages chan string // what it was sent
}

// startManager runs one that keeps that many descriptors.
func startManager(t *testing.T, most int) *testManager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	m := &testManager{fake.Manager{Max: most}, make(chan string, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			text, err := m.Receive(socket)
			if err != nil {
				return
			}
			m.messages <- text
		}
	}()
	t.Cleanup(func() { socket.Close(); <-done; m.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return m
}

func pipe(t *testing.T, text string) int {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(p[1], []byte(text)); err != nil {
		t.Fatal(err)
	}
	unix.Close(p[1])
	t.Cleanup(func() { unix.Close(p[0]) })
	return p[0]
}

// settle waits until the manager has dealt with everything.
func settle(t *testing.T, s *FDStore) {
	t.Helper()
	if err := s.barrier(); err != nil {
		t.Fatal(err)
	}
}

func TestPutSurvivesTheProcess(t *testing.T) {
	m := startManager(t, 10)
	s := OpenFDStore()
	one, two := pipe(t, "one"), pipe(t, "two")
	for name, fds := range map[string][]int{"pipe": {one, two}, "unknown": {pipe(t, "")}} {
		if err := s.Put(name, fds...); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put("pipe", one); err != nil { // a second time
		t.Fatal(err)
	}
	settle(t, s)
	if n := len(m.Names()); n != 3 {
		t.Fatalf("kept %q, want 3", m.Names())
	}
	files, environ := m.Hand()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	cmd.ExtraFiles, cmd.Env = files, append(os.Environ(), append(environ, asService+"=1")...)
	out, err := cmd.CombinedOutput()
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := "pipe:one\npipe:two\n"; string(out) != want {
		t.Errorf("the next process got %q, want %q", out, want)
	}
	settle(t, s)
	if names := m.Names(); !slices.Equal(names, []string{"pipe", "pipe"}) {
		t.Errorf("kept %q after the next process, want what it took", names)
	}
}

func TestRemoveReturnsWhenTheManagerHasClosed(t *testing.T) {
	m := startManager(t, 10)
	s := OpenFDStore()
	if err := s.Put("a", pipe(t, "a")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put("b", pipe(t, "b")); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if names := m.Names(); !slices.Equal(names, []string{"b"}) {
		t.Errorf("kept %q, want b", names)
	}
}

func TestAManagerWithoutAStore(t *testing.T) {
	m := startManager(t, 0)
	s := OpenFDStore()
	if err := s.Put("a", pipe(t, "a")); err != nil {
		t.Error(err)
	}
	if err := s.Remove("a"); err != nil || len(m.Names()) != 0 {
		t.Errorf("Remove: %v; kept %q", err, m.Names())
	}
}

func TestWithoutAManager(t *testing.T) {
	for _, socket := range []string{"", "vsock:2:1234"} {
		t.Setenv("NOTIFY_SOCKET", socket)
		s := OpenFDStore()
		if fds := s.Take("a"); fds != nil {
			t.Errorf("took %v", fds)
		}
		for _, err := range []error{s.Put("a", 0), s.Remove("a"), s.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAManagerThatIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nobody")
	t.Setenv("NOTIFY_SOCKET", path)
	s := OpenFDStore()
	if err := s.Put("a", 0); err == nil || !strings.Contains(err.Error(), "keep file descriptors a") {
		t.Errorf("Put: %v", err)
	}
	if err := s.Remove("a"); err == nil {
		t.Error("Remove: no error")
	}
}
