package engine

import (
	"runtime"

	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
)

const (
	// raised is the nice value of a thread that moves streams.
	raised = -10
	// judged is over how many packets from or to the device it is judged what they are:
	// some 20 ms of a stream, a few of single packets.
	judged = 256
	// streams and singles are bytes of unsplit TCP for each of them, on average. Where
	// there are more the thread moves streams, where there are less single packets, and
	// between it does what it did.
	streams = 16 << 10
	singles = 4 << 10
)

// priority is that of a queue's thread. While it moves streams of TCP the thread goes
// before applications, as the kernel's own tunnels always do. It has more to do than the
// applications at both ends, and would otherwise often wait for a processor while they
// wait for it: one stream through a card that takes single datagrams gets a sixth more,
// four at once a quarter, at less processor time for each byte. A stream's sender waits
// for answers, and so never has much on its way. With datagrams nobody waits: more would
// be sent than the other side's application takes, and fewer than half arrive.
//
// Without a header on the device no packet is unsplit, and nothing is raised.
//
// It belongs to the thread.
type priority struct {
	may     bool // be raised
	usual   int  // nice value
	is      bool // raised
	packets int  // since the last judgement
	bytes   int  // of those that were unsplit TCP
	setNice func(nice int) error
}

// newPriority returns the priority of threads that are like the calling one, and why
// they may not be raised.
func newPriority() (priority, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	usual, err := niceOfThread()
	if err != nil {
		return priority{}, err
	}
	p := priority{usual: usual, setNice: setNiceOfThread}
	if usual <= raised {
		return p, nil
	}
	if err := p.setNice(raised); err != nil {
		return p, err
	}
	p.may = true
	return p, p.setNice(usual)
}

// moved says that a packet of so many bytes came from the device, or went to it.
func (p *priority) moved(h offload.Header, bytes int) {
	if h.TCP() {
		p.bytes += bytes
	}
	if p.packets++; p.packets < judged {
		return
	}
	average := p.bytes / p.packets
	p.packets, p.bytes = 0, 0
	switch {
	case !p.may:
	case average >= streams:
		p.raise(true)
	case average < singles:
		p.raise(false)
	}
}

func (p *priority) raise(on bool) {
	if p.is == on {
		return
	}
	nice := p.usual
	if on {
		nice = raised
	}
	// What was allowed once can be forbidden later, for a process of which the limits
	// were changed from outside. Then it stays as it is.
	if p.setNice(nice) == nil {
		p.is = on
	}
}

// niceOfThread returns the nice value of the calling thread, from -20 to 19.
func niceOfThread() (int, error) {
	// The system call returns 20 less the value, so that it is not negative.
	n, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	return 20 - n, err
}

// setNiceOfThread sets it: of one thread, in spite of the name.
func setNiceOfThread(nice int) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, nice) }
