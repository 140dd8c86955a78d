// Package fake is the service manager's side of a file descriptor store, as far
// as systemd documents it. It keeps nothing on a disk and supervises nobody.
package fake

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Manager keeps file descriptors for one service. The zero value keeps up to Max
// of them. It is safe for concurrent use.
type Manager struct {
	Max int // as FileDescriptorStoreMax= of systemd.service(5); zero: none

	mu   sync.Mutex
	kept []entry
}

// entry has a bare number: an os.File would change the blocking mode, which the
// service's own copy shares.
type entry struct {
	name string
	fd   int
}

// Receive reads one message from the service's notification socket, deals with
// it, and returns its text.
func (m *Manager) Receive(socket *net.UnixConn) (string, error) {
	text, rights := make([]byte, 4096), make([]byte, 1024)
	n, r, _, _, err := socket.ReadMsgUnix(text, rights)
	if err != nil {
		return "", err
	}
	var all []int
	if messages, err := unix.ParseSocketControlMessage(rights[:r]); err == nil {
		for _, message := range messages {
			fds, err := unix.ParseUnixRights(&message)
			if err != nil {
				continue // credentials
			}
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				all = append(all, fd)
			}
		}
	}
	m.handle(string(text[:n]), all)
	return string(text[:n]), nil
}

// handle takes over the descriptors.
func (m *Manager) handle(text string, fds []int) {
	said := make(map[string]string)
	for line := range strings.SplitSeq(text, "\n") {
		key, value, _ := strings.Cut(line, "=")
		said[key] = value
	}
	name := said["FDNAME"]
	if name == "" {
		name = "stored"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if said["FDSTOREREMOVE"] == "1" {
		var left []entry
		for _, e := range m.kept {
			if e.name == name {
				_ = unix.Close(e.fd)
			} else {
				left = append(left, e)
			}
		}
		m.kept = left
	}
	for _, fd := range fds {
		if said["FDSTORE"] != "1" || len(m.kept) >= m.Max || m.has(fd) {
			_ = unix.Close(fd)
			continue
		}
		m.kept = append(m.kept, entry{name, fd})
	}
}

// has reports whether the file is kept already, by any number.
func (m *Manager) has(fd int) bool {
	const file = 0 // KCMP_FILE of linux/kcmp.h
	pid := uintptr(os.Getpid())
	for _, e := range m.kept {
		order, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, file, uintptr(e.fd), uintptr(fd), 0)
		if errno == 0 && order == 0 {
			return true
		}
	}
	return false
}

// Names returns the names of what is kept, in order.
func (m *Manager) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for _, e := range m.kept {
		names = append(names, e.name)
	}
	return names
}

// Hand returns what the service's next process is to get: its files from number
// 3 on, which the caller closes, and its environment, in which LISTEN_PID is
// missing.
func (m *Manager) Hand() (files []*os.File, environ []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for _, e := range m.kept {
		fd, err := unix.FcntlInt(uintptr(e.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			continue // too many files are open
		}
		files = append(files, os.NewFile(uintptr(fd), e.name))
		names = append(names, e.name)
	}
	if len(files) == 0 {
		return nil, nil
	}
	return files, []string{fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES=" + strings.Join(names, ":")}
}

// Close closes all that is kept.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.kept {
		_ = unix.Close(e.fd)
	}
	m.kept = nil
}
