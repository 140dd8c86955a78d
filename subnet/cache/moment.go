package cache

import "time"

// Moment is one moment by both clocks of a host.
type Moment struct {
	Boot  string        // id of the boot; empty if the kernel does not say
	Since time.Duration // since the boot, with what the host slept (CLOCK_BOOTTIME)
	Wall  time.Time
}

// Add returns the moment that is later by d.
func (m Moment) Add(d time.Duration) Moment {
	m.Since += d
	m.Wall = m.Wall.Add(d)
	return m
}

// sameBoot reports whether no reboot lies between the moments, as far as can be
// known.
func (m Moment) sameBoot(n Moment) bool { return m.Boot != "" && m.Boot == n.Boot }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
