package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/logonce"
)

// repeatAfter is the time until a reason to wait is logged again while it lasts.
const repeatAfter = 30 * time.Second

// Revision counts the store's changes. Revisions of one store are ordered; zero
// is before all of them.
type Revision uint64

// Document is the configuration as the store has it, not yet parsed.
type Document struct {
	Raw []byte
	Rev Revision // of its last change; if there is no document, of the store when that was found out
}

// ErrNone is what a store that answered, but has no document, returns.
var ErrNone = errors.New("no network configuration in the store")

// Missing is an ErrNone that says where a document is missing.
type Missing struct {
	Err    error  // in the words that people search for
	Where  string // for one line in the output of systemctl
	Remedy string // how to write one, in the words of the store
}

func (m *Missing) Error() string { return m.Err.Error() }
func (m *Missing) Unwrap() error { return m.Err }

// Source is where the document is kept; every subnet.Store is one.
type Source interface {
	// Config returns the document. If there is none the error is ErrNone and the
	// Document's Rev is still set.
	Config(ctx context.Context) (Document, error)
	// AwaitConfig blocks until the document was written or deleted after the
	// given revision, and returns it as Config does. It may return early.
	AwaitConfig(ctx context.Context, after Revision) (Document, error)
}

// Reader reads the document for one program and logs what is wrong with it.
type Reader struct {
	Source Source
	Accept func(Config) error // says why this program cannot run with a configuration
	Log    *slog.Logger
}

// Read returns the configuration if this program can run with it, and logs what
// in the document deserves a warning.
func (r Reader) Read(doc Document) (Config, error) {
	cfg, warnings, err := r.parse(doc)
	for _, w := range warnings {
		r.Log.Warn("Network config: " + w)
	}
	return cfg, err
}

func (r Reader) parse(doc Document) (Config, []string, error) {
	cfg, warnings, err := Parse(doc.Raw)
	if err == nil {
		err = r.Accept(cfg)
	}
	if err != nil {
		return Config{}, nil, err
	}
	return cfg, warnings, nil
}

// Await waits until there is a configuration that this program can run with, and
// returns it with its document. The first document and error are the source's
// answer to a first call of Config. It calls waits with the reason to wait, each
// time that the reason may be logged. It returns the context's error when that ends.
func (r Reader) Await(ctx context.Context, doc Document, err error, waits func(reason string)) (Config, Document, error) {
	var pause backoff.Backoff
	line := logonce.Line{Repeat: repeatAfter}
	for {
		if err == nil {
			var cfg Config
			if cfg, err = r.Read(doc); err == nil {
				return cfg, doc, nil
			}
		}
		if ctx.Err() != nil {
			return Config{}, Document{}, ctx.Err()
		}
		text, reason := cannotFetch(err)
		waits(reason)
		if line.Changed(fmt.Sprintf("%s [%d]", text, doc.Rev)) {
			r.Log.Error("failed to retrieve network config: " + err.Error()) // in the words of release 0.5.5
			r.Log.Error(text)
		}
		if doc.Rev == 0 {
			_ = pause.Wait(ctx)
			doc, err = r.Source.Config(ctx)
			continue
		}
		pause.Reset()
		bound, cancel := context.WithTimeout(ctx, repeatAfter)
		doc, err = r.Source.AwaitConfig(bound, doc.Rev)
		if bound.Err() != nil { // time to log the reason again
			doc, err = r.Source.Config(ctx)
		}
		cancel()
	}
}

// cannotFetch says why there is no configuration to run with, for the log in the
// words that people search for, and for one line of systemctl.
func cannotFetch(err error) (text, reason string) {
	text, reason = "Couldn't fetch network config: "+err.Error(), err.Error()
	if m, ok := errors.AsType[*Missing](err); ok {
		return text + " (" + m.Remedy + ")", m.Where
	}
	return text, reason
}

// Watch logs what changes in the document until ctx ends. A change is applied at
// the next start: a network does not change under running containers. The
// revision is that of the running configuration; zero if it was not read from the
// source, which is then asked first. Watch calls unusable after each look, with the reason
// for which no daemon could begin with the document; empty: there is none.
func (r Reader) Watch(ctx context.Context, running Config, rev Revision, unusable func(reason string)) error {
	var pause backoff.Backoff
	var line logonce.Line
	if rev != 0 {
		unusable("") // whatever was said while the start waited for this document
	}
	for ctx.Err() == nil {
		var doc Document
		var err error
		if rev == 0 {
			doc, err = r.Source.Config(ctx)
		} else {
			doc, err = r.Source.AwaitConfig(ctx, rev)
		}
		deleted := errors.Is(err, ErrNone)
		if err != nil && !deleted {
			_ = pause.Wait(ctx) // whoever follows the leases logs that etcd is away
			continue
		}
		pause.Reset()
		if doc.Rev <= rev && pause.Wait(ctx) != nil { // returned early, without a change
			return nil
		}
		rev = doc.Rev
		if deleted {
			_, reason := cannotFetch(err)
			unusable(reason)
			if line.Changed("deleted") {
				r.Log.Warn("The network configuration was deleted from etcd; this daemon keeps using it, also after a restart while its lease lasts")
			}
			continue
		}
		text, usable := r.changes(running, doc)
		if usable {
			unusable("")
		} else {
			unusable(text)
		}
		if line.Changed(text) {
			r.say(text, " again")
		}
	}
	return nil
}

// say logs what a restart would make different; empty: nothing.
func (r Reader) say(differs, again string) {
	if differs != "" {
		r.Log.Warn("The network configuration in etcd has changed; restart to apply", "differs", differs)
		return
	}
	r.Log.Info("The network configuration in etcd is the one in use" + again)
}

// Compare asks the source for the document and logs whether a restart would
// change something.
func (r Reader) Compare(ctx context.Context, running Config) {
	doc, err := r.Source.Config(ctx)
	if err != nil {
		text, _ := cannotFetch(err)
		r.Log.Error(text)
		return
	}
	text, _ := r.changes(running, doc)
	r.say(text, "")
}

// changes says what a restart would make different, empty: nothing, or why the document
// is not usable.
func (r Reader) changes(running Config, doc Document) (text string, usable bool) {
	cfg, _, err := r.parse(doc)
	if err != nil {
		return err.Error(), false
	}
	return Diff(running, cfg), true
}
