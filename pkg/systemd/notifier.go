// Package systemd is the service's side of systemd: how it is (sd_notify(3)), that it
// runs (sd_watchdog_enabled(3)), and which files it keeps over a restart
// (sd_pid_notify_with_fds(3)). It knows nothing of what the service does. Without
// systemd, or anything else that speaks its protocol, nothing is sent or kept.
package systemd

import (
	"log/slog"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier says how the service is. It is safe for concurrent use, and must not be
// copied.
type Notifier struct {
	Log *slog.Logger

	mu       sync.Mutex
	status   string // the last one
	warned   bool
	stopping bool // nothing is said any more
}

// Status says in words what the service does, unless that was said last. The text is
// made one line of UTF-8: each other line of a message would be a variable.
func (n *Notifier) Status(text string) {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	n.mu.Lock()
	defer n.mu.Unlock()
	if text != n.status {
		n.status = text
		n.send("STATUS=" + text)
	}
}

// Failed says why the service ends, which systemd shows until the next start.
func (n *Notifier) Failed(err error) { n.Status("failed: " + err.Error()) }

// Ready says that the service has started, or has reloaded.
func (n *Notifier) Ready() { n.notify("READY=1") }

// Reloading says that the service reloads, until it is ready.
func (n *Notifier) Reloading() { n.notify("RELOADING=1\n" + daemon.SdNotifyMonotonicUsec()) }

// Stopping is the last thing that is said. It may be called more than once.
func (n *Notifier) Stopping() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.send("STOPPING=1")
	n.stopping = true
}

// feed tells the watchdog that the service runs.
func (n *Notifier) feed() { n.notify("WATCHDOG=1") }

func (n *Notifier) notify(state string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.send(state)
}

// send needs the lock.
func (n *Notifier) send(state string) {
	if n.stopping {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil && !n.warned {
		n.warned = true
		n.Log.Warn("Cannot notify systemd", "state", state, "err", err)
	}
}
