package main

import (
	"context"
	"os"
	"time"
)

// reloadTime bounds what a reload asks etcd for.
const reloadTime = 8 * time.Second

// reloads looks at everything again upon each signal, until ctx is done: the
// configuration, of which it says whether a restart would change something; the
// kernel; and the subnet file. Flags and variables are those of the start.
func (d *daemon) reloads(ctx context.Context, signals <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
		}
		if !d.handed.Load() {
			d.log.Info("Asked to reload before the host is ready: there is nothing yet to look at again")
			continue
		}
		d.log.Info("Reloading: looking at the configuration, the kernel and the subnet file again. " +
			"Flags and variables stay those of the start; a restart reads them")
		d.tell.Reloading()
		d.sayConfig(ctx)
		d.reload.Store(true)
		d.poke()
	}
}

// sayConfig says how the configuration differs from the one that is used.
func (d *daemon) sayConfig(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	documentReader(d.store, d.opts.Etcd.Prefix, d.log).Compare(ctx, d.cfg)
}

// reloaded follows each pass, and says so if that began after a reload was asked for:
// one that was under way then may have looked before.
func (d *daemon) reloaded() {
	if d.reloading {
		d.reloading = false
		d.log.Info("Reloaded")
		d.tell.Ready()
	}
}
