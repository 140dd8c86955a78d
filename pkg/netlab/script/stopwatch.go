package script

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// stopwatch measures time, but not the time in which programs had to wait for this
// machine: a limit of two seconds is a test of the daemon only if the daemon could run.
//
// The kernel counts how long at least one program has waited for a processor or a disk
// (PSI, Documentation/accounting/psi.rst). Without PSI, all time counts. On an idle
// machine, limits are what the scripts say. On a busy one they grow: tenfold at most,
// and by excusable at most.
type stopwatch struct {
	began   time.Time
	stalled time.Duration // pressure() at that moment
}

// excusable is the longest time that is excused. It is less than the minute between two
// periodic passes of the daemon: a pass must not repair in time what an event had to.
const excusable = 20 * time.Second

func startStopwatch() stopwatch { return stopwatch{time.Now(), pressure()} }

// elapsed returns the time since the start, without the excused time.
func (w stopwatch) elapsed() time.Duration {
	return w.own(time.Since(w.began))
}

// own returns what counts of a time since the start.
func (w stopwatch) own(wall time.Duration) time.Duration {
	return (wall - excused(wall, pressure()-w.stalled)) / patience()
}

// patienceVariable is the environment variable that says how many times longer everything may take,
// for machines that are emulated.
const patienceVariable = "NETLAB_PATIENCE"

func patience() time.Duration {
	n, _ := strconv.Atoi(os.Getenv(patienceVariable)) // wrong or empty: 1
	return time.Duration(max(n, 1))
}

// excused returns how much of a time does not count if programs waited that long in it.
func excused(wall, stalled time.Duration) time.Duration {
	return max(min(stalled, wall*9/10, excusable), 0) // both sums grow while they are read
}

// pressure returns how long programs have had to wait since the machine was started.
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

var errNoPressure = errors.New("not a line of the kernel's pressure")

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

// await receives from a channel, or gives up when the stopwatch has reached the limit.
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
