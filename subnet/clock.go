package subnet

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells how long the host has been up, its suspensions included, and the
// time of day. Leases are timed by the first, which nobody sets. The second only tells
// that the host was away: the first stands still in a paused virtual machine.
type Clock func() (up time.Duration, wall time.Time)

// HostClock is the Clock of this host. It fails on no Linux since 2.6.39.
func HostClock() (time.Duration, time.Time) {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return time.Duration(t.Nano()), time.Now()
}

// clocks are what three clocks showed at one moment. They advance together, with three
// exceptions: the monotonic clock of a suspended host stands still, only the wall clock
// of a paused or restored virtual machine advances, and a wall clock may be set.
type clocks struct {
	up   time.Duration
	wall time.Time
	mono time.Time
}

func newClocks(c Clock) clocks {
	up, wall := c()
	return clocks{up, wall.Round(0), time.Now()}
}

// since returns by how much at most two clocks have gone apart since then, and how
// long that was.
func (c clocks) since(then clocks) (apart, passed time.Duration) {
	up, wall, mono := c.up-then.up, c.wall.Sub(then.wall), c.mono.Sub(then.mono)
	return max((up - mono).Abs(), (up - wall).Abs()), up
}
