package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"flanneld/pkg/wake"
	"flanneld/subnet"
	"flanneld/subnet/cache"
	"flanneld/subnet/config"
	"flanneld/subnet/etcdapi"
)

// Cache is what this host knew of the cluster before it started.
type Cache struct {
	Dir    cache.Dir
	Path   string // of Dir, for the log
	Host   cache.Host
	BootID string // names this boot of the host; empty: not known
	API    API    // nil: there is only v2
	Log    *slog.Logger

	refused bool         // the cache cannot be used, and that was logged
	known   *cache.Known // that LastAPI has read, until Leases; nil: it has not
}

// API knows in which of etcd's APIs the network lies.
type API interface {
	// Decided returns it; empty: nobody knows yet.
	Decided() etcdapi.API
	// Resume makes it that which this host ran on before. The error says for which reason
	// it is another one.
	Resume(last etcdapi.API) error
}

// api returns the one that is decided on.
func (c *Cache) api() etcdapi.API {
	if c.API == nil {
		return etcdapi.V2
	}
	return c.API.Decided()
}

// LastAPI returns the API that this host ran on when it last ran, whether or not a start
// can go on what is known; empty: nobody knows. What it reads is for Leases, too.
func (c *Cache) LastAPI() etcdapi.API {
	if c.known = c.load(); c.known != nil {
		return etcdapi.API(c.known.API)
	}
	return ""
}

// load returns what this host knew of this network; nil: nothing.
func (c *Cache) load() *cache.Known {
	known, _ := cache.Load(c.Dir, c.Host, c.now()) // it is told by recall what is wrong
	if known.Host != c.Host || known.Own == (subnet.Lease{}) {
		return nil
	}
	return &known
}

// bootID names this boot of the host; empty if the kernel does not say.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// recall returns what was known, and its configuration, if the host can start from
// it; else nil. Why says for which reason the store is not enough, and etcd is its error. The
// raw configuration that the host has already must be the same; nil: it has none. Read
// judges the configuration.
func (c *Cache) recall(why string, etcd error, running []byte, read func(config.Document) (config.Config, error)) (*cache.Known, config.Config) {
	now := c.now()
	known, err := cache.Load(c.Dir, c.Host, now)
	if c.refused || errors.Is(err, fs.ErrNotExist) {
		return nil, config.Config{}
	}
	var cfg config.Config
	if err == nil && running != nil && string(running) != string(known.Config.Raw) {
		err = errors.New("it is of another configuration than etcd has now")
	}
	if err == nil {
		cfg, err = read(known.Config)
	}
	if err != nil {
		c.refuse(err, "etcd", etcd)
		return nil, config.Config{}
	}
	args := []any{"subnet", known.Own.Key(), "peers", len(known.Peers), "as of", known.Saved.Wall.Format(time.RFC3339)}
	if left, err := known.Left(now); err == nil && !known.Own.Reserved() {
		args = append(args, "ours for", left.Round(time.Second))
	}
	c.Log.Warn(why+"; starting from what this host knew of the cluster", append(args, "etcd", etcd)...)
	return &known, cfg
}

// Leases returns what was known of all hosts, whether or not a start can go on it. What
// has ended by now is left out. Of what lies in another API than the network does now, the
// revisions say nothing, and our own lease is another one.
func (c *Cache) Leases() []subnet.Lease {
	known := c.known
	if c.known = nil; known == nil {
		known = c.load()
	}
	if known == nil {
		return nil
	}
	leases, wall := known.Peers, c.now().Wall
	if etcdapi.API(known.API) == c.api() {
		leases = append(leases, known.Own)
	} else {
		for i := range leases {
			leases[i].Rev = 0
		}
	}
	return slices.DeleteFunc(leases, func(l subnet.Lease) bool {
		return !l.Reserved() && !l.Expires.After(wall)
	})
}

// exists reports whether there is a cache at all, usable or not.
func (c *Cache) exists() bool {
	_, err := c.Dir.Load(cache.File)
	return !c.refused && !errors.Is(err, fs.ErrNotExist)
}

func (c *Cache) refuse(reason error, more ...any) {
	c.refused = true
	c.Log.Warn("What this host knew of the cluster cannot be used; waiting for etcd, after which the file is written anew",
		append([]any{"file", filepath.Join(c.Path, cache.File), "reason", reason}, more...)...)
}

// fits reports whether the host still has the addresses that it was known by, and makes
// etcd's API that of then. With other addresses its peers would not find it; it may also be
// a copy of another host.
func (c *Cache) fits(k *cache.Known, at Addrs) bool {
	for _, a := range [][2]netip.Addr{{k.Own.V4.PublicIP, at.V4}, {k.Own.V6.PublicIP, at.V6}} {
		if a[0] != a[1] {
			c.refuse(fmt.Errorf("it is of a host at %s, and this one is at %s", a[0], a[1]))
			return false
		}
	}
	if c.API != nil {
		if err := c.API.Resume(etcdapi.API(k.API)); err != nil {
			c.refuse(err)
			return false
		}
	}
	return true
}

// resume returns what is known as if it had just been acquired. The snapshot has no
// revision: the leases have to be listed before they can be followed.
func (c *Cache) resume(k *cache.Known) subnet.Acquired {
	now := c.now()
	got := subnet.Acquired{Lease: k.Own, Seen: subnet.Snapshot{Leases: append(k.Peers, k.Own)}, Sent: now.Since}
	if left, err := k.Left(now); err == nil && !k.Own.Reserved() {
		// So that the same life is left by the clock of this boot.
		got.Sent = now.Since + left - (k.Until.Since - k.Sent.Since)
	}
	return got
}

// Known returns what a next start may go on, given how the host stands with its
// lease and all leases that it knows of; false if it has none, or another host has it.
func (c *Cache) Known(s subnet.Standing, doc config.Document, leases []subnet.Lease) (cache.Known, bool) {
	if !s.State.Safe() && s.State != subnet.Expired {
		return cache.Known{}, false
	}
	k := cache.Known{Host: cache.Host{Node: s.Lease.Node, Prefix: c.Host.Prefix}, API: string(c.api()), Config: doc, Own: s.Lease, Saved: c.now()}
	if !s.Lease.Reserved() {
		if s.Deadline == 0 {
			return cache.Known{}, false // it is not held yet
		}
		k.Sent, k.Until = k.Saved.Add(s.Sent-k.Saved.Since), k.Saved.Add(s.Deadline-k.Saved.Since)
	}
	k.Peers = slices.DeleteFunc(leases, func(l subnet.Lease) bool { return l.Key() == s.Lease.Key() })
	return k, true
}

// Keep writes what is known for the next start, until ctx is done, and then returns nil.
// It begins after the first pass, since before that there is more urgent work, and when
// it is known how the host stands with its lease: until then, what the last run left is
// no worse. Standing is woken when that changes.
func (c *Cache) Keep(ctx context.Context, passed, standing <-chan struct{}, view *subnet.View, known func() (cache.Known, bool)) error {
	select {
	case <-ctx.Done():
		return nil
	case <-passed:
	}
	for ok := false; !ok; _, ok = known() {
		select {
		case <-ctx.Done():
			return nil
		case <-standing:
		}
	}
	others := wake.New()
	view.Subscribe(others)
	k := cache.Keeper{Dir: c.Dir, Known: known, Own: standing, Others: others, Log: c.Log}
	return k.Run(ctx)
}

// now returns the present moment.
func (c *Cache) now() cache.Moment {
	up, wall := subnet.HostClock()
	return cache.Moment{Boot: c.BootID, Since: up, Wall: wall}
}
