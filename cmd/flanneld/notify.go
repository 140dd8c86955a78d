package main

import (
	"log/slog"
	"strings"
	"sync"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// notifier tells systemd how the daemon is (sd_notify(3)). Without systemd it
// does nothing. It is safe for concurrent use.
type notifier struct {
	log *slog.Logger

	mu     sync.Mutex
	said   string // the last status
	warned bool
	ended  bool // STOPPING=1 was sent, which is the last thing to say
}

// status says what the daemon does, unless that was the last thing said. It is one line
// of a message, in which each other one is another variable, and UTF-8.
func (n *notifier) status(text string) {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	n.mu.Lock()
	defer n.mu.Unlock()
	if text != n.said {
		n.said = text
		n.send("STATUS=" + text)
	}
}

// failed says why the daemon ends, which systemd shows until the next start.
func (n *notifier) failed(err error) { n.status("failed: " + err.Error()) }

func (n *notifier) ready() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.send("READY=1")
}

// alive feeds the watchdog.
func (n *notifier) alive() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.send("WATCHDOG=1")
}

// reloading says that the daemon looks at everything again, until it is ready.
func (n *notifier) reloading() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.send("RELOADING=1\n" + systemd.SdNotifyMonotonicUsec())
}

// stopping may be called more than once.
func (n *notifier) stopping() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.send("STOPPING=1")
	n.ended = true
}

// send needs the lock.
func (n *notifier) send(state string) {
	if n.ended {
		return
	}
	if _, err := systemd.SdNotify(false, state); err != nil && !n.warned {
		n.warned = true
		n.log.Warn("Cannot notify systemd", "state", state, "err", err)
	}
}
