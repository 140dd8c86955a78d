package chaos

import (
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
func (m moment) of(t time.Time) moment      { return m.add(time.Until(t)) }
