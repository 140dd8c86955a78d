package systemd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// FDStore keeps file descriptors over a restart of the process. What is kept stays
// open meanwhile: a socket goes on to receive, a device keeps its queue. Without a
// service manager it is empty, and nothing is kept. It is not safe for concurrent use.
type FDStore struct {
	socket string // empty: there is no manager
	kept   map[string][]int
}

// barrierTime is the longest wait for the manager to deal with a message.
const barrierTime = 5 * time.Second

// OpenFDStore takes what the manager handed to this process, and removes the environment
// variables that say so: children get neither. It is called once, before anything opens
// files.
func OpenFDStore() *FDStore {
	s := &FDStore{kept: make(map[string][]int)}
	if socket := os.Getenv("NOTIFY_SOCKET"); strings.HasPrefix(socket, "/") || strings.HasPrefix(socket, "@") {
		s.socket = socket
	}
	for i, name := range handed(os.Getpid(), os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")) {
		fd := firstFD + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err == nil {
			s.kept[name] = append(s.kept[name], fd)
		}
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	return s
}

// firstFD is the number of the first descriptor that a manager hands over
// (SD_LISTEN_FDS_START).
const firstFD = 3

// handed returns the names of the descriptors, from firstFD on, that the variables of
// sd_listen_fds(3) list; none if they are for another process. A number above that of
// the names is not believed, since each kept descriptor has a name.
func handed(pid int, listenPID, listenFDs, listenFDNames string) []string {
	n, err := strconv.Atoi(listenFDs)
	if listenPID != strconv.Itoa(pid) || err != nil || n <= 0 || listenFDNames == "" {
		return nil
	}
	names := strings.Split(listenFDNames, ":")
	return names[:min(n, len(names))]
}

// Take returns the descriptors that were kept under the name, in the order in which they
// were put there. They are the caller's to close, and stay in the store.
func (s *FDStore) Take(name string) []int {
	fds := s.kept[name]
	delete(s.kept, name)
	return fds
}

// Put keeps copies of the descriptors under a name without a colon, beside those that
// are there. A file that is in the store already is not kept twice.
func (s *FDStore) Put(name string, fds ...int) error {
	if s.socket == "" || len(fds) == 0 {
		return nil
	}
	// Without FDPOLL=0 the manager drops a socket upon the first ICMP error.
	if err := s.send("FDSTORE=1\nFDNAME="+name+"\nFDPOLL=0", fds...); err != nil {
		return fmt.Errorf("keep file descriptors %s: %w", name, err)
	}
	return nil
}

// Remove makes the manager close what it has of that name, and waits until it
// has.
func (s *FDStore) Remove(name string) error {
	if s.socket == "" {
		return nil
	}
	err := s.send("FDSTOREREMOVE=1\nFDNAME=" + name)
	if err == nil {
		err = s.barrier()
	}
	if err != nil {
		return fmt.Errorf("remove file descriptors %s: %w", name, err)
	}
	return nil
}

// Close closes what was handed over and not taken, and has it removed.
func (s *FDStore) Close() error {
	var errs []error
	for name, fds := range s.kept {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		errs = append(errs, s.Remove(name))
	}
	clear(s.kept)
	return errors.Join(errs...)
}

func (s *FDStore) send(state string, fds ...int) error {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	return unix.Sendmsg(socket, []byte(state), unix.UnixRights(fds...), &unix.SockaddrUnix{Name: s.socket}, 0)
}

// barrier returns when the manager has dealt with all messages so far: then it closes
// the end of a pipe that it is sent (BARRIER=1; systemd 246). An older manager closes
// what it does not know.
func (s *FDStore) barrier() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	err = s.send("BARRIER=1", int(w.Fd()))
	_ = w.Close()
	if err != nil {
		return err
	}
	_ = r.SetReadDeadline(time.Now().Add(barrierTime)) // a pipe has deadlines
	if _, err = r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("wait for the service manager: %w", err)
	}
	return nil
}
