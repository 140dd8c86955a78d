// Package systemd is the service's side of systemd: how it is (sd_notify(3)), that it
// runs (sd_watchdog_enabled(3)), and which files it keeps over a restart
// (sd_pid_notify_with_fds(3)). It knows nothing of what the service does. Without
// systemd, or anything else that speaks its protocol, nothing is sent or kept.
package systemd

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier says how the service is. It is safe for concurrent use, and must not be
// copied.
type Notifier struct {
	Log *slog.Logger

	mu       sync.Mutex
	warned   bool
	unsaid   string // the last status, if the manager did not take it
	stopping bool   // nothing is said any more
}

// statusTime is the longest wait for the manager to take a status or a sign of life. Whoever
// says these goes on without it: a manager that does not read must not stop the service.
const statusTime = 100 * time.Millisecond

// Status says in words what the service does. The text is made one line of UTF-8: each
// other line of a message would be a variable.
func (n *Notifier) Status(text string) {
	n.send("STATUS=" + strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " "))
}

// Ready says that the service has started, or has reloaded.
func (n *Notifier) Ready() { n.send(daemon.SdNotifyReady) }

// Reloading says that the service reloads, until it is ready.
func (n *Notifier) Reloading() { n.send("RELOADING=1\n" + daemon.SdNotifyMonotonicUsec()) }

// Feed tells the watchdog that the service runs.
func (n *Notifier) Feed() { n.send(daemon.SdNotifyWatchdog) }

// Stopping is the last thing that is said. It may be called more than once.
func (n *Notifier) Stopping() { n.send(daemon.SdNotifyStopping) }

func (n *Notifier) send(state string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopping {
		return
	}
	n.stopping = state == daemon.SdNotifyStopping
	patience := barrierTime
	isStatus := strings.HasPrefix(state, "STATUS=")
	if isStatus || state == daemon.SdNotifyWatchdog {
		patience = statusTime
	}
	message := state
	if isStatus {
		n.unsaid = state
	} else if n.unsaid != "" {
		message += "\n" + n.unsaid
	}
	err := notify(message, patience)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		n.unsaid = ""
	}
	if err != nil && !n.warned {
		n.warned = true
		n.Log.Warn("Cannot notify systemd", "state", state, "err", err)
	}
}

// notify is daemon.SdNotify with an end: that waits for as long as the queue of the socket is full.
// Without a manager it does nothing.
func notify(message string, patience time.Duration) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetWriteDeadline(time.Now().Add(patience)) // it is open
	_, err = conn.Write([]byte(message))
	return err
}
