package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/subnet/config"
	"flanneld/subnet/etcd"
)

const (
	// grace is how long an answer of v2 that decides waits for one of v3, which is only
	// for the log.
	grace = 100 * time.Millisecond
	// secondLook is the time after which is looked again before v3 is taken for the one:
	// whoever has just written its configuration may be writing v2's, and a member that is
	// silent may be about to start. Other hosts, which look a moment later, must find the same.
	secondLook = 2 * time.Second
	// againAfter is the time after which is asked again what has not answered.
	againAfter = 5 * time.Second
	// otherTime is how long is asked whether the other API has what one lacks.
	otherTime = time.Second
)

// answer is what one API says of its configuration.
type answer struct {
	doc config.Document
	err error
}

func (a answer) found() bool { return a.err == nil }
func (a answer) none() bool  { return errors.Is(a.err, config.ErrNone) }

// lacking reports whether etcd has no such API.
func (a answer) lacking() bool {
	_, ok := errors.AsType[etcd.NoAPIError](a.err)
	return ok
}

// unclear reports whether a configuration may lie there: etcd is away, say, or does not
// let this host in.
func (a answer) unclear() bool { return !a.found() && !a.none() && !a.lacking() }

// verdict is what two answers come to.
type verdict struct {
	api   API    // empty: not known
	why   string // it is the one
	early bool   // a second look may find another one
	err   error  // why it is not known
}

// judge says which API the network lies in: v2 if a configuration lies there, else v3 if one
// lies there. The one of before stays while one lies there, and an API that may have one
// keeps the other from being chosen: what etcd did not say must not move a host to
// another network. Woken says that there was no configuration just before.
func (c *Choice) judge(v2, v3 answer, woken bool) verdict {
	const here = "the network's configuration is there"
	switch {
	case c.Last == V3 && v3.found():
		return verdict{api: V3, why: here}
	case c.Last == V3 && v3.unclear():
		return verdict{err: v3.err}
	case v2.found():
		return verdict{api: V2, why: here}
	case v2.unclear() && v3.found():
		return verdict{err: fmt.Errorf("%w; it may have the network's configuration, and etcd's v3 API has one: give --etcd-api=v3 if that is the one", v2.err)}
	case v2.unclear():
		return verdict{err: v2.err}
	case v3.found() && v2.none():
		return verdict{api: V3, why: here + ", and none in v2", early: woken}
	case v3.found():
		e, _ := errors.AsType[etcd.NoAPIError](v2.err)
		why := here + ", and this etcd has no v2 API"
		if e.Silent != nil {
			why += fmt.Sprintf("; silent: %v", errors.Join(e.Silent...))
		}
		return verdict{api: V3, why: why, early: e.Silent != nil && c.Last == ""}
	case v2.lacking() && !v3.none():
		return verdict{err: v3.err}
	}
	return verdict{err: missingBoth(c.Prefix, v2, v3)}
}

// decide finds out which API it is, and returns its document. If nobody knows yet, the
// error is config.ErrNone if etcd has said so.
func (c *Choice) decide(ctx context.Context, woken bool) (config.Document, error) {
	v2, v3 := c.look(ctx)
	v := c.judge(v2, v3, woken)
	if v.early {
		if err := backoff.Sleep(ctx, secondLook); err != nil {
			return config.Document{}, err
		}
		v2, v3 = c.look(ctx)
		v = c.judge(v2, v3, woken)
	}
	if v.api == V3 && c.RefusedV3 != nil {
		v.err = c.RefusedV3
	}
	if v.err != nil {
		return c.undecided(v2, v3, v.err)
	}
	if v2.found() && v3.found() {
		c.Log.Warn("Both of etcd's APIs have a network configuration; v2's counts, except for a host that has run on v3. Delete the unused one",
			"here", v.api, "v2", removal(V2, c.Prefix), "v3", removal(V3, c.Prefix))
	}
	if c.Last == other(v.api) {
		v.why += "; this host ran on " + string(c.Last) + " before"
	}
	if c.settle(v.api, v.why) != v.api { // by another call, meanwhile
		return c.Config(ctx)
	}
	c.forget()
	if v.api == V3 {
		return v3.doc, nil
	}
	return v2.doc, nil
}

// undecided takes note of what there was not, and returns a document of that time.
func (c *Choice) undecided(v2, v3 answer, err error) (config.Document, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard[V2], c.heard[V3] = v2, v3
	switch {
	case !errors.Is(err, config.ErrNone):
		return config.Document{}, err
	case v2.none():
		return v2.doc, err
	}
	return v3.doc, err
}

// look asks both APIs at once.
func (c *Choice) look(ctx context.Context) (v2, v3 answer) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	ask := func(s Store) <-chan answer {
		got := make(chan answer, 1)
		all.Go(func() {
			doc, err := s.Config(ctx)
			got <- answer{doc, err}
		})
		return got
	}
	first, second := ask(c.V2), ask(c.V3)
	if c.Last == V3 {
		v3 = <-second
		if v3.found() || v3.unclear() {
			return answer{err: errNotAsked}, v3
		}
		return <-first, v3
	}
	v2 = <-first
	if !v2.found() && !v2.unclear() {
		return v2, <-second
	}
	select {
	case v3 = <-second:
	case <-time.After(grace):
		v3 = answer{err: errNotAsked}
	}
	return v2, v3
}

// errNotAsked stands for an answer that was not waited for.
var errNotAsked = errors.New("not asked")

// found returns the error of asking an API for its configuration, with where that is
// missing and whether the other API has one. After an answer with a configuration the
// other is not asked any more.
func (c *Choice) found(ctx context.Context, api API, err error) error {
	none, lacking := errors.Is(err, config.ErrNone), answer{err: err}.lacking()
	switch {
	case err == nil:
		c.forget()
		return nil
	case !none && !lacking:
		return err
	}
	c.mu.Lock()
	spare := c.spare
	c.mu.Unlock()
	if spare != nil {
		ctx, cancel := context.WithTimeout(ctx, otherTime)
		defer cancel()
		if _, e := spare.Config(ctx); e == nil {
			err = fmt.Errorf("%w; there is one for etcd's %s API, which --etcd-api=%[2]s uses", err, other(api))
		}
	}
	if lacking {
		return err
	}
	return missing(api, c.Prefix, err)
}

// forget closes the store that is not the one.
func (c *Choice) forget() {
	c.mu.Lock()
	spare := c.spare
	c.spare = nil
	c.mu.Unlock()
	if spare != nil {
		end(spare)
	}
}
