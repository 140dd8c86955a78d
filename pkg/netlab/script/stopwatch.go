package script

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// stopwatch measures time without that in which this machine kept programs waiting: a
// limit of two seconds says something of the daemon only if the daemon was let run.
//
// The kernel counts for how long at least one program has waited for a processor or for
// a disk (PSI, Documentation/accounting/psi.rst). Where it does not, all time counts. So
// onCommand a machine with room limits are as they are written, and on one where other tests
// are busy, or whose host is, they grow: tenfold at most, and by excusable at most.
type stopwatch struct {
	began   time.Time
	stalled time.Duration // by then
}

// excusable is less than the minute after which the kernel's state is looked at unasked:
// what is to be mended at once must not be found mended by that.
const excusable = 20 * time.Second

func startStopwatch() stopwatch { return stopwatch{time.Now(), pressure()} }

// elapsed is the time since the start, without what is excused.
func (w stopwatch) elapsed() time.Duration {
	wall := time.Since(w.began)
	return wall - excused(wall, pressure()-w.stalled)
}

// excused is how much of a time does not count in which programs have waited so long.
func excused(wall, stalled time.Duration) time.Duration {
	return max(min(stalled, wall*9/10, excusable), 0) // the kernel may not tell at one time
}

// pressure is for how long programs have had to wait since the machine was started.
func pressure() time.Duration {
	var sum time.Duration
	for _, of := range []string{"cpu", "io"} {
		text, err := os.ReadFile("/proc/pressure/" + of)
		if err != nil {
			continue
		}
		stalled, _ := parsePressure(text)
		sum += stalled
	}
	return sum
}

var errNoPressure = errors.New("no line of the kernel's about pressure")

// parsePressure reads "some avg10=0.00 avg60=0.00 avg300=0.00 total=123", in
// microseconds, from the first line.
func parsePressure(text []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	_, total, ok := bytes.Cut(line, []byte(" total="))
	if !ok || !bytes.HasPrefix(line, []byte("some ")) {
		return 0, fmt.Errorf("%w: %q", errNoPressure, line)
	}
	n, err := strconv.ParseInt(string(total), 10, 64)
	return time.Duration(n) * time.Microsecond, err
}

// await receives from a channel, or gives up after so long on a stopwatch.
func await[T any](within time.Duration, from <-chan T) (value T, ok bool) {
	watch := startStopwatch()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case value = <-from:
			return value, true
		case <-look.C:
			if watch.elapsed() > within {
				return value, false
			}
		}
	}
}
