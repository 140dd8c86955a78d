package cache

import (
	"context"
	"hash/maphash"
	"log/slog"
	"time"

	"flanneld/subnet"
)

// Keeper writes the cache.
type Keeper struct {
	Dir Dir
	// Known returns what is to be kept, which the Keeper does not change. It is
	// false if there is nothing to start from: the own lease is another host's.
	Known  func() (Known, bool)
	Own    <-chan struct{} // a token: the own lease or its life has changed
	Others <-chan struct{} // a token: a claim has changed
	Settle time.Duration   // from a change of the others to the write; zero: 1 s
	Pause  time.Duration   // between writes for the others' sake; zero: 5 s
	Log    *slog.Logger
}

const (
	defaultSettle = time.Second
	defaultPause  = 5 * time.Second
	// share bounds the time that writing takes for the sake of others, in a busy
	// cluster: a hundredth.
	share = 100
	// mostPause bounds what follows from that: after one write that took long, since
	// the disk had much else to do, what is kept would be old for hours.
	mostPause = time.Minute
	// saveRetry is the pause after a write that failed: a disk is full for a while.
	saveRetry = time.Minute
)

// Run writes the cache at its start, when something in it has changed, and when
// ctx is done; then it returns nil. A change of the own lease is written at once,
// since a cache that names the lease of before would be a lie. What others do is
// collected for a while.
func (k *Keeper) Run(ctx context.Context) error {
	w := writer{Keeper: k, seed: maphash.MakeSeed()}
	if w.Settle == 0 {
		w.Settle = defaultSettle
	}
	if w.Pause == 0 {
		w.Pause = defaultPause
	}
	due := time.After(0)
	for {
		select {
		case <-ctx.Done():
			w.write()
			return nil
		case <-k.Own:
			due = nil
		case <-k.Others:
			if due == nil {
				due = time.After(max(w.Settle, max(w.Pause, min(share*w.took, mostPause))-time.Since(w.wrote)))
			}
			continue
		case <-due:
			due = nil
		}
		if !w.write() {
			due = time.After(saveRetry)
		}
	}
}

// writer is the state of Run.
type writer struct {
	*Keeper
	key        subnet.Key // of the lease that the file names; zero: none that is known of
	says       uint64     // the file's fingerprint; zero: likewise
	seed       maphash.Seed
	wrote      time.Time     // the last time
	took       time.Duration // to write it
	complained bool
}

// write makes the file say what is known, and reports whether it does.
func (w *writer) write() bool {
	k, ok := w.Known()
	if !ok {
		return w.drop()
	}
	says := fingerprint(k, w.seed)
	if says == w.says {
		return true
	}
	start := time.Now()
	data, err := k.Encode()
	if err == nil {
		err = w.Dir.Save(File, data)
	}
	w.wrote = time.Now()
	w.took = w.wrote.Sub(start)
	if err == nil {
		if w.complained {
			w.Log.Info("What is known of the cluster is kept again")
		}
		w.key, w.says, w.complained = k.Own.Key(), says, false
		w.Log.Debug("Kept what is known of the cluster for the next start", "bytes", len(data), "took", w.took)
		return true
	}
	w.complain("Cannot keep what is known of the cluster; if etcd is away at the next start, this host will have to wait for it", err)
	if k.Own.Key() != w.key {
		w.drop() // rather no cache than one that names somebody else's subnet
	}
	return false
}

func (w *writer) drop() bool {
	w.key, w.says = subnet.Key{}, 0
	if err := w.Dir.Remove(File); err != nil {
		w.complain("Cannot remove what was known of the cluster; if etcd is away at the next start, this host may use a subnet that is another's", err)
		return false
	}
	return true
}

// complain logs once for as long as writing fails.
func (w *writer) complain(what string, err error) {
	if !w.complained {
		w.complained = true
		w.Log.Warn(what, "err", err)
	}
}

// fingerprint is the same for what says the same, whenever it is written. Renewals
// of the other hosts do not count: they are worth no write.
func fingerprint(k Known, seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	maphash.WriteComparable(&h, k.Host)
	maphash.WriteComparable(&h, k.Config.Rev)
	_, _ = h.Write(k.Config.Raw)
	for _, m := range []Moment{k.Sent, k.Until} {
		m.Wall = time.Time{} // computed from the other clock each time, it differs by a little
		maphash.WriteComparable(&h, m)
	}
	maphash.WriteComparable(&h, k.Own)
	for _, l := range k.Peers {
		l.Expires, l.Rev = time.Time{}, 0
		maphash.WriteComparable(&h, l)
	}
	return h.Sum64()
}
