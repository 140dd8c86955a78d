package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// ErrConfig: the configuration of one side is not such that leases can be copied.
var ErrConfig = errors.New("configuration")

// documents are the configurations of both sides.
type documents struct {
	from, to config.Document
}

// compareConfigs reads both. It is an error if the side From has none, or none that can be
// read, or if the other has one that says something else.
func compareConfigs(ctx context.Context, from, to Side) (d documents, err error) {
	if d.from, err = from.Store.Config(ctx); err != nil {
		if errors.Is(err, config.ErrNone) {
			return d, fmt.Errorf("%w: %s has none: %w", ErrConfig, from.Name, err)
		}
		return d, fmt.Errorf("read the configuration of %s: %w", from.Name, err)
	}
	if _, _, err := config.Parse(d.from.Raw); err != nil {
		return d, fmt.Errorf("%w: that of %s is not one: %w", ErrConfig, from.Name, err)
	}
	if d.to, err = to.Store.Config(ctx); err != nil && !errors.Is(err, config.ErrNone) {
		return d, fmt.Errorf("read the configuration of %s: %w", to.Name, err)
	}
	if diff := differ(d.from.Raw, d.to.Raw); !d.missing() && diff != "" {
		return d, fmt.Errorf("%w: %s has another one than %s: %s", ErrConfig, to.Name, from.Name, diff)
	}
	return d, nil
}

// missing reports whether the other side has none.
func (d documents) missing() bool { return d.to.Raw == nil }

// carry writes the configuration to the other side if that has none. If somebody else has
// written it meanwhile, as another run of this program, it must be the same.
func (d documents) carry(ctx context.Context, from, to Side) error {
	for d.missing() {
		err := to.Store.WriteConfig(ctx, d.to, d.from.Raw)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, subnet.ErrLost):
			return fmt.Errorf("write the configuration to %s: %w", to.Name, err)
		}
		if d, err = compareConfigs(ctx, from, to); err != nil {
			return err
		}
	}
	return nil
}

// differ says what differs between two documents, in words; empty if nothing does that a
// daemon could see.
func differ(a, b []byte) string {
	var x, y bytes.Buffer
	if json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes()) {
		return ""
	}
	p, _, err := config.Parse(a)
	if err != nil {
		return err.Error()
	}
	q, _, err := config.Parse(b)
	if err != nil {
		return err.Error()
	}
	return config.Diff(p, q)
}

// configEvery is the time between two looks at the configurations.
const configEvery = 10 * time.Second

// documentFollower writes each change of From's configuration to the other side, as long as
// that has what From had before. Safe for concurrent use.
type documentFollower struct {
	from, to Side
	log      *slog.Logger
	last     []byte // what both sides had last

	mu      sync.Mutex
	problem Problem // zero: there is none
}

// run follows until ctx is done.
func (f *documentFollower) run(ctx context.Context) {
	for backoff.Sleep(ctx, configEvery) == nil {
		f.look(ctx)
	}
}

// look compares both sides once.
func (f *documentFollower) look(ctx context.Context) {
	a, err := f.from.Store.Config(ctx)
	if errors.Is(err, config.ErrNone) {
		f.set(fmt.Sprintf("the configuration has gone from %s; %s keeps its own", f.from.Name, f.to.Name), "write it again")
	}
	if err != nil {
		return // who reads the leases says it if etcd is away
	}
	b, err := f.to.Store.Config(ctx)
	if err != nil && !errors.Is(err, config.ErrNone) {
		return
	}
	diff := differ(a.Raw, b.Raw)
	switch {
	case b.Raw != nil && diff == "":
		f.last = a.Raw
		f.set("", "")
		return
	case b.Raw != nil && differ(f.last, b.Raw) != "":
		f.set(fmt.Sprintf("the configuration of %s is not that of %s: %s", f.to.Name, f.from.Name, diff),
			fmt.Sprintf("change it on %s; it is written to %s if that has what %s had", f.from.Name, f.to.Name, f.from.Name))
		return
	}
	if _, _, err := config.Parse(a.Raw); err != nil {
		f.set(fmt.Sprintf("the configuration of %s cannot be read, and is not copied: %v", f.from.Name, err), "correct it")
		return
	}
	err = f.to.Store.WriteConfig(ctx, b, a.Raw)
	switch {
	case err == nil:
		f.log.Info(fmt.Sprintf("The configuration of %s was copied to %s", f.from.Name, f.to.Name))
		f.last = a.Raw
		f.set("", "")
	case !errors.Is(err, subnet.ErrLost) && ctx.Err() == nil:
		f.set(fmt.Sprintf("the configuration cannot be written to %s: %v", f.to.Name, err), "")
	}
}

func (f *documentFollower) set(why, hint string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if why != f.problem.Why && why != "" {
		f.log.Warn(why, "hint", hint)
	}
	f.problem = Problem{Why: why, Hint: hint}
}

func (f *documentFollower) get() Problem {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problem
}
