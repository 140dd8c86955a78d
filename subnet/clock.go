package subnet

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells how long the host has been up, its suspensions included, and the
// time of day. Leases are timed by the first, which nobody sets; the second only
// tells that the host was away: a paused virtual machine is as old as before.
type Clock func() (up time.Duration, wall time.Time)

// HostClock is the Clock of this host. It fails on no Linux since 2.6.39.
func HostClock() (time.Duration, time.Time) {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return time.Duration(t.Nano()), time.Now()
}
