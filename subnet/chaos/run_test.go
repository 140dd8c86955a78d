package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	etcdproc "flanneld/subnet/storetest/etcd"
)

// run is a duplicate-owner run.
type run struct {
	pool   int                                               // subnets of the network
	length time.Duration                                     // of the faults
	live   func(context.Context, identity, func(note)) error // the rules
	v3     bool                                              // it is etcd's v3 API
	frozen int                                               // how many hosts are processes that are stopped and killed
	stop   func(events []event, notes []note) bool           // asked every few seconds; nil: go on
	t      testing.TB
	e      *etcd
	l      *links
	notes  account
	next   atomic.Int64 // host
	counts counts
}

// recorder is a history that is being recorded.
type recorder interface {
	soFar() []event
	finish(t testing.TB, e *etcd) []event
}

type counts struct {
	linkFaults, memberFaults, freezes, jumps, restarts, bursts, joiners atomic.Int64
}

const (
	hosts   = 14
	joiners = 4 // at a time
)

func (r *run) tell(n note) { r.notes.add(n) }

// random is a generator of one goroutine's own.
func random(seed uint64, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

func between(rnd *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rnd.Int64N(int64(most-least)))
}

// do carries out the run and returns what happened.
func (r *run) do(t testing.TB) ([]event, []note) {
	t.Helper()
	seed := rand.Uint64()
	program := etcdproc.Chosen()
	if r.v3 {
		program = recent(t)
	}
	r.t, r.e = t, newEtcdOf(t, program, 3)
	r.l = newLinks(r.e.urls)
	var h recorder
	forget := r.e.burn
	if r.v3 {
		h3 := record3(t, r.e)
		h, forget = h3, h3.forget
	} else {
		h = record(t, r.e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), r.length)
	defer cancel()
	alive, die := context.WithCancel(t.Context())
	defer die()
	var hostsDone, faultsDone sync.WaitGroup
	start := func(f func(context.Context, *rand.Rand), ctx context.Context, wg *sync.WaitGroup) {
		seed++
		rnd := random(seed, 0)
		wg.Go(func() { f(ctx, rnd) })
	}
	var ways []*link
	for i := range hosts {
		way := r.l.to(t, fmt.Sprintf("host%d", i))
		ways = append(ways, way)
		f := r.host
		if i < r.frozen {
			f = r.process
		}
		start(func(ctx context.Context, rnd *rand.Rand) { f(ctx, rnd, way) }, alive, &hostsDone)
	}
	for i := range joiners {
		way := r.l.to(t, fmt.Sprintf("joiner%d", i))
		ways = append(ways, way)
		start(func(ctx context.Context, rnd *rand.Rand) { r.join(ctx, rnd, way) }, alive, &hostsDone)
	}
	for _, way := range ways {
		start(func(ctx context.Context, rnd *rand.Rand) { r.disturb(ctx, rnd, way) }, ctx, &faultsDone)
	}
	start(r.failMembers, ctx, &faultsDone)
	start(func(ctx context.Context, rnd *rand.Rand) { r.burst(ctx, rnd, forget) }, ctx, &faultsDone)
	r.wait(ctx, h)
	cancel()
	faultsDone.Wait()
	pause(t.Context(), 2*ttl) // what is late arrives, and what expires expires
	die()
	hostsDone.Wait()
	t.Logf("%d faults of links, %d of members, %d processes frozen, %d clocks set, %d hosts killed and started again, %d bursts, %d joiners",
		r.counts.linkFaults.Load(), r.counts.memberFaults.Load(), r.counts.freezes.Load(), r.counts.jumps.Load(), r.counts.restarts.Load(),
		r.counts.bursts.Load(), r.counts.joiners.Load())
	events, notes := h.finish(t, r.e), r.notes.all()
	if r.v3 {
		events = classified(events, notes)
	}
	return events, notes
}

// wait returns when the faults have lasted, or stop says so.
func (r *run) wait(ctx context.Context, h recorder) {
	for ctx.Err() == nil {
		pause(ctx, 2*time.Second)
		if r.stop != nil && r.stop(h.soFar(), r.notes.all()) {
			return
		}
	}
}

func (r *run) identity(way *link) identity {
	return identity{Number: int(r.next.Add(1)), Endpoints: way.urls(), Pool: r.pool, V3: r.v3}
}

// host lives in this process, and is killed now and then: what it has sent may
// still arrive.
func (r *run) host(ctx context.Context, rnd *rand.Rand, way *link) {
	id := r.identity(way)
	for ; ctx.Err() == nil; id.Lives++ {
		id.clock = new(clock)
		life, end := context.WithTimeout(ctx, between(rnd, 10*time.Second, 60*time.Second))
		var jumps sync.WaitGroup
		jumps.Go(func() { r.jump(life, random(rnd.Uint64(), 0), id.clock) })
		r.life(life, id)
		end()
		jumps.Wait()
		id.Previous = lastKey(r.notes.all(), id.owner())
		r.counts.restarts.Add(1)
		pause(ctx, between(rnd, 0, 2*ttl))
	}
}

// jump sets a host's clock now and then, or makes it look as after a sleep.
func (r *run) jump(ctx context.Context, rnd *rand.Rand, c *clock) {
	for {
		pause(ctx, between(rnd, 5*time.Second, 30*time.Second))
		if ctx.Err() != nil {
			return
		}
		r.counts.jumps.Add(1)
		if d := between(rnd, -2*ttl, 2*ttl); rnd.IntN(2) == 0 {
			c.set(d)
		} else {
			c.suspend(d.Abs())
		}
	}
}

func (r *run) life(ctx context.Context, id identity) {
	if err := r.live(ctx, id, r.tell); err != nil {
		r.t.Errorf("host %d: %v", id.Number, err)
	}
}

// lastKey is what a host's subnet file has.
func lastKey(notes []note, host string) string {
	for i := len(notes) - 1; i >= 0; i-- {
		if notes[i].Host == host && notes[i].Kind == hold {
			return notes[i].Key
		}
	}
	return ""
}

// process is a host that is frozen often and killed now and then.
func (r *run) process(ctx context.Context, rnd *rand.Rand, way *link) {
	id := r.identity(way)
	for ; ctx.Err() == nil; id.Lives++ {
		p := startProcess(r.t, id, r.tell)
		for range 1 + rnd.IntN(4) {
			pause(ctx, between(rnd, time.Second, 8*time.Second))
			if ctx.Err() != nil {
				break
			}
			p.freeze()
			r.counts.freezes.Add(1)
			pause(ctx, between(rnd, ttl/4, 2*ttl))
			p.thaw()
		}
		if ctx.Err() == nil {
			pause(ctx, between(rnd, 0, 2*time.Second))
		}
		p.kill()
		r.tell(note{Host: id.owner(), Kind: drop, At: now()})
		id.Previous = lastKey(r.notes.all(), id.owner())
		r.counts.restarts.Add(1)
		pause(ctx, between(rnd, 0, 2*time.Second))
	}
}

// join lets one new host after another come and go. Some are clones: their
// subnet file is another host's.
func (r *run) join(ctx context.Context, rnd *rand.Rand, way *link) {
	for ctx.Err() == nil {
		id := r.identity(way)
		if rnd.IntN(4) == 0 {
			if notes := r.notes.all(); len(notes) > 0 {
				id.Previous = lastKey(notes, notes[rnd.IntN(len(notes))].Host)
			}
		}
		life, end := context.WithTimeout(ctx, between(rnd, 3*time.Second, 10*time.Second))
		r.life(life, id)
		end()
		r.counts.joiners.Add(1)
	}
}

// disturb makes one link fail now and then.
func (r *run) disturb(ctx context.Context, rnd *rand.Rand, way *link) {
	for {
		pause(ctx, between(rnd, 2*time.Second, 16*time.Second))
		if ctx.Err() != nil {
			return
		}
		r.counts.linkFaults.Add(1)
		var some []int // members; none is all
		if rnd.IntN(3) == 0 {
			some = []int{rnd.IntN(3)}
		}
		length := between(rnd, time.Second, 9*time.Second)
		switch rnd.IntN(8) {
		case 0, 1, 2: // cut off
			way.inject(r.t, some, blackHole("upstream"), blackHole("downstream"))
		case 3: // answers are lost: writes are done and nobody knows
			way.inject(r.t, some, blackHole("downstream"))
		case 4: // requests arrive late, when nobody waits for the answer any more
			way.inject(r.t, some, latency("upstream", between(rnd, call/2, 2*ttl), call))
		case 5: // answers arrive late
			way.inject(r.t, some, latency("downstream", between(rnd, 0, 2*call), call/4))
		case 6:
			way.inject(r.t, some, reset())
		case 7:
			way.inject(r.t, some, truncation(rnd.IntN(600)))
		}
		pause(ctx, length)
		way.heal()
	}
}

// failMembers kills members or makes them hang, one or all of them.
//
// With the v3 API a leader that hung is killed before it goes on. It would end leases that
// others have kept alive meanwhile, if it hung for longer than they live (etcd's issue 15247):
// since 3.5.11 it asks first whether it leads still, but not within three heartbeats of the
// last tick of its clock, and that ticks as soon as the process goes on. Five times of twenty
// all leases of a 3.6.16 ended so, eight of a 3.7.3, and none of one that always asks. No host
// can help that, and with the lives that leases really have it takes a leader that hangs for
// most of a day.
func (r *run) failMembers(ctx context.Context, rnd *rand.Rand) {
	for {
		pause(ctx, between(rnd, 4*time.Second, 10*time.Second))
		if ctx.Err() != nil {
			return
		}
		r.counts.memberFaults.Add(1)
		length := between(rnd, time.Second, 6*time.Second)
		one := rnd.IntN(3)
		switch rnd.IntN(6) {
		case 0, 1:
			r.e.kill(one)
			pause(ctx, length)
			r.e.again(one)
		case 2, 3, 4:
			leads := r.v3 && r.e.leads(ctx, one)
			r.e.hang(one)
			pause(ctx, length)
			if leads {
				r.e.kill(one)
				r.e.again(one)
			} else {
				r.e.resume(one)
			}
		case 5:
			r.e.kill(0, 1, 2)
			pause(ctx, length/2)
			r.e.again(0, 1, 2)
		}
	}
}

// burst makes etcd forget what happened before.
func (r *run) burst(ctx context.Context, rnd *rand.Rand, forget func(context.Context, int)) {
	for {
		pause(ctx, between(rnd, 4*time.Second, 8*time.Second))
		if ctx.Err() != nil {
			return
		}
		r.counts.bursts.Add(1)
		burst, end := context.WithTimeout(ctx, 5*time.Second)
		forget(burst, 1200)
		end()
	}
}
