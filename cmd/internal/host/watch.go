package host

import (
	"context"
	"log/slog"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/logonce"
)

// Watch checks what the overlay depends on and is not ours: Docker's bridge, and the
// kernel's forwarding. It mends neither: somebody may have meant it.
type Watch struct {
	Bridge  string            // Docker's; empty: not checked
	Forward bool              // the kernel must forward
	Told    func() Handover   // what Docker was told; nothing is checked before
	Trouble func(what string) // is told what is wrong after each check; empty: nothing
	Log     *slog.Logger
}

// checkEvery is the time between two checks. Docker makes its bridge long after us, and
// changes it when it is restarted.
const checkEvery = 5 * time.Second

// Run checks until ctx is done, and then returns nil. It logs a problem once, and when
// it is gone.
func (w Watch) Run(ctx context.Context) error {
	bridge := problemLog{log: w.Log, found: "Docker does not use this host's subnet as it should: ", gone: "Docker's bridge is as it should be"}
	forwarding := forwardingCheck{path: ipForward, log: problemLog{log: w.Log,
		found: "The kernel does not forward packets: ", gone: "The kernel forwards packets again"}}
	for backoff.Sleep(ctx, checkEvery) == nil {
		told := w.Told()
		if told == (Handover{}) {
			continue
		}
		what := ""
		if w.Bridge != "" {
			// What was found stays while Docker makes the bridge, or removes it.
			if p, err := CheckBridge(w.Bridge, told); err == nil {
				bridge.report(p)
			}
			what = bridge.line.Text()
		}
		if w.Forward {
			if p := forwarding.check(); p != (Problem{}) {
				what = p.What
			}
		}
		w.Trouble(what)
	}
	return nil
}

// forwardingPatience is the number of checks in a row that find forwarding off before
// that is a problem: Docker may be about to switch it on.
const forwardingPatience = 2

// forwardingCheck is CheckForwarding with patience.
type forwardingCheck struct {
	path string
	log  problemLog
	off  int // how many times in a row
}

func (c *forwardingCheck) check() Problem {
	p := checkForwarding(c.path)
	if p == (Problem{}) {
		c.off = 0
	} else if c.off++; c.off < forwardingPatience {
		p = Problem{}
	}
	c.log.report(p)
	return p
}

// problemLog logs when one check finds something else than before.
type problemLog struct {
	log         *slog.Logger
	found, gone string // sentences; the problem follows the first
	line        logonce.Line
}

func (l *problemLog) report(p Problem) {
	switch changed := l.line.Changed(p.What); {
	case changed && p.What != "":
		l.log.Warn(l.found+p.What, "hint", p.Remedy)
	case changed:
		l.log.Info(l.gone)
	}
}
