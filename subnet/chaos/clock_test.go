package chaos

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// moment is CLOCK_BOOTTIME in nanoseconds, which all processes of the machine
// share.
type moment int64

const never = moment(1<<63 - 1)

func now() moment {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // Linux has had it since 2.6.39
	}
	return moment(t.Nano())
}

func (m moment) add(d time.Duration) moment { return m + moment(d) }
func (m moment) sub(o moment) time.Duration { return time.Duration(m - o) }

// of is the moment of a time of day.
func (m moment) of(t time.Time) moment { return m.add(time.Until(t)) }

// clock is a host's, which can be made to jump. Safe for concurrent use; nil is
// one that nobody touches.
type clock struct {
	mu       sync.Mutex
	up, wall time.Duration // ahead of what is so
}

// read implements subnet.Clock.
func (c *clock) read() (time.Duration, time.Time) {
	if c == nil {
		return time.Duration(now()), time.Now()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(now()) + c.up, time.Now().Add(c.wall)
}

// moment is when the clock shows what it says, if it is not touched before.
func (c *clock) moment(up time.Duration) moment {
	if c == nil {
		return moment(up)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return moment(up - c.up)
}

// suspend is what a host sees that has slept: the monotonic clock stood still.
func (c *clock) suspend(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up, c.wall = c.up+d, c.wall+d
}

// set is what an operator does, or NTP.
func (c *clock) set(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall += d
}
