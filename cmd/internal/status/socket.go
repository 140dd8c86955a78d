package status

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"
)

// maxLocalConnections is the number of connections to the socket at one time.
const maxLocalConnections = 16

// ListenSocket returns a Server on a unix socket that the group may use (0660). Nobody needs
// it for forwarding, so that it is a warning if there can be none, as when another daemon
// has it; an empty path: there is none.
func ListenSocket(path string, b *Board, log *slog.Logger) *Server {
	s := &Server{what: "status socket", board: b, limit: maxLocalConnections, log: log}
	if path == "" {
		return s
	}
	l, err := listenUnix(path)
	if err != nil {
		log.Warn("Cannot open the status socket; name another with --status-socket", "err", err)
		return s
	}
	s.listener, s.close = l, func() { removeSocket(path, l) }
	return s
}

// boundSocket is a listener, and the file that it made.
type boundSocket struct {
	net.Listener
	file os.FileInfo
}

// listenUnix makes the socket under another name and moves it, so that there is never one
// with another mode, and what a daemon has left that was killed is replaced.
func listenUnix(path string) (*boundSocket, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("another process answers on %s", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("%s is there and is no socket", path)
	}
	made := fmt.Sprintf("%s.%d", path, os.Getpid())
	_ = os.Remove(made)
	l, err := net.Listen("unix", made)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	err = os.Chmod(made, 0o660)
	var file os.FileInfo
	if err == nil {
		file, err = os.Lstat(made)
	}
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		_ = l.Close()
		_ = os.Remove(made)
		return nil, err
	}
	return &boundSocket{l, file}, nil
}

// removeSocket removes the file, unless another daemon has put its own there.
func removeSocket(path string, l *boundSocket) {
	if now, err := os.Lstat(path); err == nil && os.SameFile(now, l.file) {
		_ = os.Remove(path)
	}
}
