package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"flanneld/backend"
	"flanneld/pkg/statedir"
	"flanneld/subnet"
	"flanneld/subnet/cache"
	"flanneld/subnet/config"
)

// memory is what this host knew of the cluster before it started.
type memory struct {
	dir     *statedir.Dir
	path    string // of dir
	host    cache.Host
	boot    string // id of this boot
	log     *slog.Logger
	refused bool // that was logged
}

// recall returns what was known, and its configuration, if the host can start with
// it; else nil. It is called when the store does not answer, which why tells.
// Running is the configuration that the host has already; nil if it has none.
func (m *memory) recall(why error, running []byte) (*cache.Known, config.Config) {
	if m.refused {
		return nil, config.Config{}
	}
	now := m.now()
	known, err := cache.Load(m.dir, m.host, now)
	if cache.Missing(err) {
		m.refused = true
		return nil, config.Config{}
	}
	var cfg config.Config
	if err == nil && running != nil && string(running) != string(known.Config.Raw) {
		err = errors.New("it is of another configuration than etcd has now")
	}
	if err == nil {
		cfg, err = documentReader(nil, m.host.Prefix, m.log).Read(known.Config)
	}
	if err != nil {
		m.refuse(err, "etcd", why)
		return nil, config.Config{}
	}
	args := []any{"subnet", known.Own.Key(), "peers", len(known.Peers), "as of", known.Saved.Wall.Format(time.RFC3339)}
	if left, err := known.Left(now); err == nil && !known.Own.Reserved() {
		args = append(args, "ours for", left.Round(time.Second))
	}
	m.log.Warn("etcd does not answer; starting from what this host knew of the cluster", append(args, "etcd", why)...)
	return &known, cfg
}

func (m *memory) refuse(reason error, more ...any) {
	m.refused = true
	m.log.Warn("What this host knew of the cluster cannot be used; waiting for etcd, after which the file is written anew",
		append([]any{"file", filepath.Join(m.path, cache.File), "reason", reason}, more...)...)
}

// isOf reports whether the host still has the addresses that it is known by. With
// others its peers would not find it; and it may be a copy of the host that it
// takes itself for.
func (m *memory) isOf(k *cache.Known, u backend.Underlay) bool {
	for _, a := range [][2]netip.Addr{{k.Own.V4.PublicIP, u.PublicV4}, {k.Own.V6.PublicIP, u.PublicV6}} {
		if a[0] != a[1] {
			m.refuse(fmt.Errorf("it is of a host at %s, and this one is at %s", a[0], a[1]))
			return false
		}
	}
	return true
}

// resume returns what is known as if it had just been acquired. Its revision is
// none: the leases have to be listed before they can be followed.
func (m *memory) resume(k *cache.Known) subnet.Acquired {
	now := m.now()
	got := subnet.Acquired{Lease: k.Own, Seen: subnet.Snapshot{Leases: append(k.Peers, k.Own)}, Sent: now.Since}
	if left, err := k.Left(now); err == nil && !k.Own.Reserved() {
		// So that the same life is left by the clock of this boot.
		got.Sent = now.Since + left - (k.Until.Since - k.Sent.Since)
	}
	return got
}

// now returns the present moment.
func (m *memory) now() cache.Moment {
	up, wall := subnet.HostClock()
	return cache.Moment{Boot: m.boot, Since: up, Wall: wall}
}

// at returns the moment at which the host was up for so long.
func (m *memory) at(up time.Duration) cache.Moment {
	now := m.now()
	return now.Add(up - now.Since)
}

// bootID names this boot of the host; empty if the kernel does not say.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
