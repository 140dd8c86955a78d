package engine

import (
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	// raised is the nice value of a thread that sends a stream.
	raised = -10
	// judged is over how many reads from the device it is judged what they are of: some
	// 40 ms of a stream, and a few of single packets.
	judged = 256
	// streamRead and singleRead are bytes in a read, on average. More is a stream, less
	// are single packets, and what lies between is what it was.
	streamRead = 16 << 10
	singleRead = 4 << 10
)

// priority is that of a queue's thread. While it sends a stream the thread goes before
// applications, as the kernel's own tunnels always do. The thread has more to do than
// they have, so that otherwise it often waits for a processor while a stream waits for
// it: one through a card that takes single datagrams gets a sixth more, four at once a
// quarter, at less processor time for each byte. A stream's sender waits for answers and
// so never has much on its way. With single datagrams nobody does: more of them would be
// sent than the other side's application takes, and fewer than half arrive.
//
// It belongs to the thread.
type priority struct {
	may     bool // be raised
	usual   int  // nice value
	is      bool // raised
	reads   int  // since the last judgement
	bytes   int  // in them
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

// sent says that so many reads from the device had so many bytes, which were sent.
func (p *priority) sent(reads, bytes int) {
	if p.reads, p.bytes = p.reads+reads, p.bytes+bytes; p.reads < judged || !p.may {
		return
	}
	average := p.bytes / p.reads
	p.reads, p.bytes = 0, 0
	switch {
	case average >= streamRead:
		p.raise(true)
	case average < singleRead:
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
