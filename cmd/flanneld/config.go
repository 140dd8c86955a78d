package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// repeatAfter is how often a reason to wait is logged again while it lasts.
const repeatAfter = 30 * time.Second

// awaitConfig waits until there is a configuration that this daemon can run
// with. It is returned as written, too, with its revision, from which later changes
// can be followed. First is the answer to a first call of the store's Config. Key
// is where the configuration belongs in etcd. Waits is called with the reason to
// wait, before each time that it may be logged.
func awaitConfig(ctx context.Context, store subnet.Store, first answer, key string, waits func(reason string), log *slog.Logger) (config.Config, config.Document, error) {
	var pause backoff.Backoff
	say := repeated{log: log}
	doc, err := first.doc, first.err
	for {
		if err == nil {
			var cfg config.Config
			if cfg, err = usable(doc, log); err == nil {
				return cfg, doc, nil
			}
		}
		if ctx.Err() != nil {
			return config.Config{}, config.Document{}, ctx.Err()
		}
		waits(whyWaiting(err, key))
		say.error(cannotFetch(err, key), doc.Rev)
		answered := doc.Rev > 0 && (len(doc.Raw) > 0 || errors.Is(err, config.ErrNone))
		if !answered && pause.Wait(ctx) != nil {
			return config.Config{}, config.Document{}, ctx.Err()
		}
		if doc.Rev == 0 {
			doc, err = store.Config(ctx)
			continue
		}
		// A store may be silent for longer than the reason is to be repeated.
		bound, cancel := context.WithTimeout(ctx, repeatAfter)
		next, failed := store.AwaitConfig(bound, doc.Rev)
		silent := bound.Err() != nil && ctx.Err() == nil
		cancel()
		if silent {
			doc, err = store.Config(ctx)
			continue
		}
		if failed != nil && !errors.Is(failed, config.ErrNone) {
			doc, err = config.Document{}, failed
			continue
		}
		pause.Reset()
		doc, err = next, failed
	}
}

// cannotFetch says why there is no configuration to run with, in the words that
// people search for. What etcd says of one that is not there names neither the key
// nor the remedy.
func cannotFetch(err error, key string) string {
	text := "Couldn't fetch network config: " + err.Error()
	if errors.Is(err, config.ErrNone) {
		text += fmt.Sprintf(" (write one, through etcd's v2 API: "+
			`ETCDCTL_API=2 etcdctl mk %s '{"Network": "10.100.0.0/16"}')`, key)
	}
	return text
}

// whyWaiting is the same for one line in the output of systemctl.
func whyWaiting(err error, key string) string {
	if errors.Is(err, config.ErrNone) {
		return "etcd's v2 API has none at " + key
	}
	return err.Error()
}

// answer is what a store's Config returns.
type answer struct {
	doc config.Document
	err error
}

// usable reads a document that this daemon can run with, and logs what in it
// deserves a warning.
func usable(doc config.Document, log *slog.Logger) (config.Config, error) {
	cfg, warnings, err := config.Parse(doc.Raw)
	if err == nil {
		_, err = chooseBackend(cfg)
	}
	if err != nil {
		return config.Config{}, err
	}
	for _, w := range warnings {
		log.Warn("Network config: " + w)
	}
	return cfg, nil
}

// deleted is how a configuration differs that is not there.
const deleted = "it was deleted"

// watchConfig logs what changes in the configuration. It is applied at the next
// start: a network does not change under running containers. The revision is that
// of the running one; zero if it was not read from the store, which is then asked
// first.
func watchConfig(ctx context.Context, store subnet.Store, running config.Config, rev subnet.Revision, log *slog.Logger) error {
	var pause backoff.Backoff
	var said string
	for ctx.Err() == nil {
		var doc config.Document
		var err error
		if rev == 0 {
			doc, err = store.Config(ctx)
		} else {
			doc, err = store.AwaitConfig(ctx, rev)
		}
		text := ""
		switch {
		case errors.Is(err, config.ErrNone):
			text = deleted
		case err != nil:
			_ = pause.Wait(ctx) // whoever follows the leases logs that etcd is away
			continue
		default:
			text = changes(running, doc)
		}
		pause.Reset()
		if doc.Rev <= rev && pause.Wait(ctx) != nil { // returned early, without a change
			return nil
		}
		rev = doc.Rev
		switch {
		case text == said:
		case text == deleted:
			log.Warn("The network configuration was deleted from etcd; this daemon goes on with the one that it has, and a restart would wait for another")
		case text != "":
			log.Warn("The network configuration in etcd has changed; restart to apply", "differs", text)
		default:
			log.Info("The network configuration in etcd is as this daemon runs with it again")
		}
		said = text
	}
	return nil
}

// repeated logs an error at once, and the same one again only now and then.
type repeated struct {
	log  *slog.Logger
	text string
	rev  subnet.Revision
	when time.Time
}

// The line is the caller's.
func (r *repeated) error(text string, rev subnet.Revision) {
	now := time.Now()
	if text == r.text && rev == r.rev && now.Sub(r.when) < repeatAfter {
		return
	}
	r.text, r.rev, r.when = text, rev, now
	var caller [1]uintptr
	runtime.Callers(2, caller[:]) // not Callers, nor this method
	ctx := context.Background()
	if h := r.log.Handler(); h.Enabled(ctx, slog.LevelError) {
		_ = h.Handle(ctx, slog.NewRecord(now, slog.LevelError, text, caller[0]))
	}
}
