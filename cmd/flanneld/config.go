package main

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/subnet"
)

// repeatAfter is how often a reason to wait is logged again while it lasts.
const repeatAfter = 30 * time.Second

// awaitConfig waits until there is a configuration that this daemon can run
// with. Its revision is returned, from which later changes can be followed.
//
// Waits is called before each time that it says why it waits.
func awaitConfig(ctx context.Context, store subnet.Store, waits func(), log *slog.Logger) (subnet.Config, subnet.Revision, error) {
	var pause backoff.Backoff
	say := repeated{log: log}
	doc, err := store.Config(ctx)
	for {
		if err == nil {
			var cfg subnet.Config
			var warnings []string
			if cfg, warnings, err = subnet.ParseConfig(doc.Raw); err == nil {
				_, err = chooseBackend(cfg)
			}
			if err == nil {
				for _, w := range warnings {
					log.Warn("Network config: " + w)
				}
				return cfg, doc.Rev, nil
			}
		}
		if ctx.Err() != nil {
			return subnet.Config{}, 0, ctx.Err()
		}
		waits()
		say.error("Couldn't fetch network config: "+err.Error(), doc.Rev)
		answered := doc.Rev > 0 && (len(doc.Raw) > 0 || errors.Is(err, subnet.ErrNoConfig))
		if !answered && pause.Wait(ctx) != nil {
			return subnet.Config{}, 0, ctx.Err()
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
		if failed != nil && !errors.Is(failed, subnet.ErrNoConfig) {
			doc, err = subnet.Document{}, failed
			continue
		}
		pause.Reset()
		doc, err = next, failed
	}
}

// watchConfig logs what changes in the configuration. It is applied at the next
// start: a network does not change under running containers.
func watchConfig(ctx context.Context, store subnet.Store, running subnet.Config, rev subnet.Revision, log *slog.Logger) error {
	var pause backoff.Backoff
	var said string
	for ctx.Err() == nil {
		doc, err := store.AwaitConfig(ctx, rev)
		text := ""
		switch {
		case errors.Is(err, subnet.ErrNoConfig):
			text = "it was deleted"
		case err != nil:
			_ = pause.Wait(ctx) // whoever follows the leases logs that etcd is away
			continue
		default:
			text = differs(running, doc)
		}
		pause.Reset()
		if doc.Rev <= rev && pause.Wait(ctx) != nil { // returned early, without a change
			return nil
		}
		rev = doc.Rev
		if text != said && text != "" {
			log.Warn("The network configuration in etcd has changed; restart to apply", "differs", text)
		} else if text != said {
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
