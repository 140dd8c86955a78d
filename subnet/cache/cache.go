// Package cache keeps what a host last knew of its cluster: the configuration,
// its own lease and those of the other hosts. With that it can start while the
// store is away. The package decides what is kept, when it is written and
// whether it may be used; it does not know how a lease is held, nor where files
// lie.
package cache

import (
	"fmt"
	"math"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
)

// File is the name that the cache has in the state directory.
const File = "cluster"

// Dir is where the cache lies.
type Dir interface {
	Load(name string) ([]byte, error) // fs.ErrNotExist if there is none
	// Save replaces the file as a whole; what it has returned from is there after
	// a power failure.
	Save(name string, data []byte) error
	Remove(name string) error // nil if there is none
}

// Host is the host that the cache belongs to. No other host may use it.
type Host struct {
	Node   string // id of the host
	Prefix string // of the store's keys, which tells one network from another
}

// Moment is one moment by both clocks of a host.
type Moment struct {
	Boot  string        // id of the boot; empty if the kernel does not say
	Since time.Duration // since the boot, with what the host slept (CLOCK_BOOTTIME)
	Wall  time.Time
}

// Add returns the moment that is later by d.
func (m Moment) Add(d time.Duration) Moment {
	return Moment{m.Boot, m.Since + d, m.Wall.Add(d)}
}

// Known is what a host knows of its cluster.
type Known struct {
	Host   Host
	API    string // of etcd's, in which all of it lies: "v2" or "v3"
	Config config.Document
	Own    subnet.Lease
	Sent   Moment         // when the own lease's last good write was sent, or earlier
	Until  Moment         // from when on another host may have the own lease; not used for a reservation
	Peers  []subnet.Lease // all other leases, in no order
	Saved  Moment         // when it was written
}

// Load returns what the host knew, to be used only if there is no error. The error
// says why not; it is fs.ErrNotExist if there is no cache.
func Load(d Dir, h Host, now Moment) (Known, error) {
	data, err := d.Load(File)
	if err != nil {
		return Known{}, err
	}
	k, err := Decode(data)
	if err != nil {
		return Known{}, err
	}
	return k, k.check(h, now)
}

// check says why a host may not use what is known.
func (k Known) check(h Host, now Moment) error {
	switch {
	case k.Host.Node != h.Node:
		return fmt.Errorf("it is another host's, of node id %q; this host's is %q", k.Host.Node, h.Node)
	case k.Host.Prefix != h.Prefix:
		return fmt.Errorf("it is another network's, of etcd prefix %q; this daemon's is %q", k.Host.Prefix, h.Prefix)
	}
	cfg, _, err := config.Parse(k.Config.Raw)
	if err != nil {
		return fmt.Errorf("its configuration: %w", err)
	}
	if !cfg.Allows(k.Own.V4.Subnet, k.Own.V6.Subnet) {
		return fmt.Errorf("its lease on %s is none that its configuration allows", k.Own.Key())
	}
	_, err = k.Left(now)
	return err
}

// Left returns for how long the own lease is safe to use, or why it is not.
// Within one boot the time since then decides, which nobody can set. After a
// reboot there is only the wall clock: then the store's own expiry counts as
// well, and a clock that has gone back tells nothing.
func (k Known) Left(now Moment) (time.Duration, error) {
	left := k.Until.Since - now.Since
	sameBoot := now.Boot != "" && now.Boot == k.Saved.Boot
	if !sameBoot {
		left = min(k.Until.Wall.Sub(now.Wall), k.Own.Expires.Sub(now.Wall))
	}
	switch {
	case k.Own.Reserved():
		return math.MaxInt64, nil
	case sameBoot && now.Since < k.Saved.Since:
		return 0, fmt.Errorf("it was written %s later in this boot than it is now", k.Saved.Since-now.Since)
	case !sameBoot && now.Wall.Before(k.Saved.Wall):
		return 0, fmt.Errorf("by the clock it was written in the future, at %s, so that nobody knows whether its lease on %s is still valid",
			k.Saved.Wall.UTC().Format(time.RFC3339), k.Own.Key())
	case left <= 0:
		return 0, fmt.Errorf("its lease on %s may have ended, %s ago", k.Own.Key(), (-left).Round(time.Second))
	}
	return left, nil
}
