package cache_test

import (
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"flanneld/pkg/statedir"
	"flanneld/subnet/cache"
)

func TestLoadOfNothing(t *testing.T) {
	if _, err := cache.Load(statedir.Memory(), cache.Host{}, saved); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func TestLoadJudges(t *testing.T) {
	k := known(2) // valid for 23 h after saved; by the store for a second less than 24 h
	reboot := func(d time.Duration) cache.Moment {
		return cache.Moment{Boot: "3f", Since: time.Minute, Wall: saved.Wall.Add(d)}
	}
	step := func(since, wall time.Duration) cache.Moment {
		return cache.Moment{Boot: saved.Boot, Since: saved.Since + since, Wall: saved.Wall.Add(wall)}
	}
	shared := func(f func(*cache.Known)) cache.Known { k := known(2); f(&k); return k }
	for name, row := range map[string]struct {
		known cache.Known
		host  cache.Host
		now   cache.Moment
		want  string // empty: it may be used
	}{
		"at once":                          {k, k.Host, saved, ""},
		"within the deadline":              {k, k.Host, saved.Add(23*time.Hour - 1), ""},
		"at the deadline":                  {k, k.Host, saved.Add(23 * time.Hour), "its lease on 10.0.1.0/24 may have ended, 0s ago"},
		"the clock was set forward":        {k, k.Host, step(time.Hour, 1e4*time.Hour), ""},
		"the clock was set back":           {k, k.Host, step(24*time.Hour, -time.Hour), "may have ended, 1h0m0s ago"},
		"time of the boot runs back":       {k, k.Host, step(-time.Minute, time.Hour), "written 1m0s later in this boot"},
		"after a reboot":                   {k, k.Host, reboot(23*time.Hour - 1), ""},
		"after a reboot, past it":          {k, k.Host, reboot(25 * time.Hour), "may have ended, 2h0m0s ago"},
		"after a reboot, the clock behind": {k, k.Host, reboot(-time.Second), "written in the future, at 2026-10-01T12:00:00Z"},
		"the store's expiry is earlier": {shared(func(k *cache.Known) { k.Own.Expires = saved.Wall.Add(time.Hour) }), k.Host, reboot(2 * time.Hour),
			"may have ended, 1h0m0s ago"},
		"no boot id, so that it may be another boot": {shared(func(k *cache.Known) { k.Saved.Boot = "" }), k.Host,
			cache.Moment{Wall: saved.Wall.Add(24 * time.Hour)}, "may have ended"},
		"a reservation never ends": {shared(func(k *cache.Known) { k.Own.Expires = time.Time{} }), k.Host, reboot(-1e4 * time.Hour), ""},
		"another host":             {k, cache.Host{Node: "n2", Prefix: k.Host.Prefix}, saved, `another host's, of node id "n1"; this host's is "n2"`},
		"another prefix":           {k, cache.Host{Node: "n1", Prefix: "/x"}, saved, `another network's, of etcd prefix "/coreos.com/network"; this daemon's is "/x"`},
		"another network": {shared(func(k *cache.Known) { k.Config.Raw = []byte(`{"Network":"10.9.0.0/16"}`) }), k.Host, saved,
			"its lease on 10.0.1.0/24 is none that its configuration allows"},
		"no configuration": {shared(func(k *cache.Known) { k.Config.Raw = []byte(`{"Network"}`) }), k.Host, saved, "its configuration: "},
	} {
		t.Run(name, func(t *testing.T) {
			d := statedir.Memory()
			if err := d.Save(cache.File, encode(t, row.known)); err != nil {
				t.Fatal(err)
			}
			got, err := cache.Load(d, row.host, row.now)
			if row.want == "" && err == nil {
				same(t, row.known, got)
				return
			}
			if row.want == "" || err == nil || !strings.Contains(err.Error(), row.want) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("error is %v; want %q", err, row.want)
			}
		})
	}
}

func TestLoadPassesOnWhatTheDirectorySays(t *testing.T) {
	broken := errors.New("input/output error")
	if _, err := cache.Load(&dir{load: broken}, cache.Host{}, saved); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}

func TestLeft(t *testing.T) {
	k := known(0)
	for name, row := range map[string]struct {
		now  cache.Moment
		want time.Duration
	}{
		"same boot": {cache.Moment{Boot: saved.Boot, Since: saved.Since + time.Hour, Wall: saved.Wall.Add(-time.Hour)}, 22 * time.Hour},
		"reboot":    {cache.Moment{Boot: "3f", Wall: saved.Wall.Add(2 * time.Hour)}, 21 * time.Hour},
	} {
		if got, err := k.Left(row.now); got != row.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", name, got, err, row.want)
		}
	}
}

// dir is one that fails when told to.
type dir struct {
	statedir.Dir
	mu                 sync.Mutex // of the rest
	load, save, remove error
	saves              int
	slow               time.Duration // that a save takes
}

func (d *dir) Load(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.load != nil {
		return nil, d.load
	}
	return d.Dir.Load(name)
}

func (d *dir) Save(name string, data []byte) error {
	d.mu.Lock()
	slow := d.slow
	d.mu.Unlock()
	time.Sleep(slow)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.save != nil {
		return d.save
	}
	d.saves++
	return d.Dir.Save(name, data)
}

func (d *dir) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.remove != nil {
		return d.remove
	}
	return d.Dir.Remove(name)
}
