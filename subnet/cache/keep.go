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
	Log    *slog.Logger

	key        subnet.Key // of the lease that the file names; zero: not known
	says       uint64     // the file's fingerprint; zero: not known
	seed       maphash.Seed
	wrote      time.Time     // the last time
	spent      time.Duration // on writing by then, less a share of the time since
	complained bool
}

const (
	// collect is the time from a change of the others to the write. What is kept is not
	// older than a second, as long as the disk is quick and changes are rare.
	collect = 500 * time.Millisecond
	// share is the part of the time that writing takes for the others' sake, in a busy
	// cluster: a hundredth.
	share = 100
	// credit is how long the writes may take before they have to wait for that.
	credit = time.Second
	// mostPause is the longest pause that follows. Without it, what is kept would be old
	// for hours after one write that took long, since the disk was busy.
	mostPause = time.Minute
	// saveRetry is the pause after a write that failed: a disk is full for a while.
	saveRetry = time.Minute
)

// Run writes the cache at its start, when something in it has changed, and when
// ctx is done; then it returns nil. A change of the own lease is written at once, since
// no start may go on with the lease of before. What others do is collected for a while.
func (k *Keeper) Run(ctx context.Context) error {
	k.seed = maphash.MakeSeed()
	due := time.After(0)
	for {
		select {
		case <-ctx.Done():
			k.write()
			return nil
		case <-k.Own:
			due = nil
		case <-k.Others:
			if due == nil {
				due = time.After(max(collect, k.pause()-time.Since(k.wrote)))
			}
			continue
		case <-due:
			due = nil
		}
		if !k.write() {
			due = time.After(saveRetry)
		}
	}
}

// pause returns how long after the last write there is none for the others' sake.
func (k *Keeper) pause() time.Duration { return min(share*max(0, k.spent-credit), mostPause) }

// write makes the file say what is known, and reports whether it does.
func (k *Keeper) write() bool {
	known, ok := k.Known()
	if !ok {
		return k.drop()
	}
	says := k.fingerprint(known)
	if says == k.says {
		return true
	}
	start := time.Now()
	data, err := known.Encode()
	if err == nil {
		err = k.Dir.Save(File, data)
	}
	k.spent = max(0, k.spent-start.Sub(k.wrote)/share)
	k.wrote = time.Now()
	k.spent = min(k.spent+k.wrote.Sub(start), credit+mostPause/share)
	if err == nil {
		if k.complained {
			k.Log.Info("The state of the cluster is saved again")
		}
		k.key, k.says, k.complained = known.Own.Key(), says, false
		return true
	}
	k.complain("Cannot save the state of the cluster; if etcd is away at the next start, this host must wait for it", err)
	if known.Own.Key() != k.key {
		k.drop() // rather no cache than one that names somebody else's subnet
	}
	return false
}

func (k *Keeper) drop() bool {
	k.key, k.says = subnet.Key{}, 0
	err := k.Dir.Remove(File)
	if err != nil {
		k.complain("Cannot remove the saved state of the cluster; if etcd is away at the next start, this host may use another host's subnet", err)
	}
	return err == nil
}

// complain logs once for as long as writing fails.
func (k *Keeper) complain(what string, err error) {
	if !k.complained {
		k.complained = true
		k.Log.Warn(what, "err", err)
	}
}

// fingerprint is the same for what says the same, whenever it is written: wall clock
// times that are computed differ by a little each time. Renewals of the other hosts do
// not count: they are worth no write.
func (k *Keeper) fingerprint(known Known) uint64 {
	var h maphash.Hash
	h.SetSeed(k.seed)
	maphash.WriteComparable(&h, known.Host)
	maphash.WriteComparable(&h, known.API)
	maphash.WriteComparable(&h, known.Config.Rev)
	maphash.WriteComparable(&h, string(known.Config.Raw))
	maphash.WriteComparable(&h, [2]time.Duration{known.Sent.Since, known.Until.Since})
	maphash.WriteComparable(&h, known.Own)
	for _, l := range known.Peers {
		l.Expires, l.Rev = time.Time{}, min(l.Rev, 1) // zero: etcd has lost it
		maphash.WriteComparable(&h, l)
	}
	return h.Sum64()
}
