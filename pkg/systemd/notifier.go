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
	warned   bool
	stopping bool // nothing is said any more
}

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
	if _, err := daemon.SdNotify(false, state); err != nil && !n.warned {
		n.warned = true
		n.Log.Warn("Cannot notify systemd", "state", state, "err", err)
	}
}
