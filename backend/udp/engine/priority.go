package engine

import (
	"runtime"

	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
)

const (
	// raised is the nice value of a thread that moves streams.
	raised = -10
	// judged is the number of packets between two decisions: some 20 ms of a stream, a
	// few of single packets.
	judged = 256
	// streams and singles are average bytes of TCP in GSO packets for each packet. From
	// streams on the thread moves streams, below singles it moves single packets, and
	// between them it stays what it was.
	streams = 16 << 10
	singles = 4 << 10
)

// priority is the priority of a queue's thread, which alone uses it. While the thread
// moves streams of TCP it goes before applications, as the kernel's own tunnels always
// do. It has more to do than the applications at both ends, and would otherwise often
// wait for a processor while they wait for it: one stream through a card that takes
// single datagrams gets a sixth more, four streams a quarter, at less processor time for
// each byte. A stream's sender waits for answers, so it never has much on its way. With
// datagrams nobody waits: more would be sent than the other side's application takes,
// and fewer than half would arrive.
//
// A device without virtio headers has no GSO packets, so nothing is raised.
type priority struct {
	usual   int                  // nice value
	is      bool                 // the thread is raised
	packets int                  // since the last decision
	bytes   int                  // of TCP in GSO packets among them
	setNice func(nice int) error // nil: the thread may not be raised
}

// newPriority returns the priority for threads like the calling one. The error says why
// they may not be raised; the priority can be used all the same.
func newPriority() (priority, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	usual, err := niceOfThread()
	if err != nil {
		return priority{}, err
	}
	if usual <= raised {
		return priority{}, nil
	}
	if err := setNiceOfThread(raised); err != nil {
		return priority{}, err
	}
	return priority{usual: usual, setNice: setNiceOfThread}, setNiceOfThread(usual)
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
	case p.setNice == nil:
	case average >= streams:
		p.raise(true)
	case average < singles:
		p.raise(false)
	}
}

// raise keeps the goroutine in its thread while that is raised: no other may have what is
// this one's.
func (p *priority) raise(on bool) {
	if p.is == on {
		return
	}
	nice := p.usual
	if on {
		nice = raised
		runtime.LockOSThread()
	}
	// Somebody may have changed the process's limits since. Then it stays as it is.
	if p.setNice(nice) == nil {
		p.is = on
	}
	if !p.is {
		runtime.UnlockOSThread()
	}
}

// niceOfThread returns the nice value of the calling thread, from -20 to 19.
func niceOfThread() (int, error) {
	// The system call returns 20 less the value, so that it is not negative.
	n, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	return 20 - n, err
}

// setNiceOfThread sets the nice value of the calling thread. PRIO_PROCESS means a
// thread here, in spite of its name.
func setNiceOfThread(nice int) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, nice) }
