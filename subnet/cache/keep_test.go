package cache_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/statedir"
	"flanneld/subnet"
	"flanneld/subnet/cache"
)

// keeping is a Keeper that runs, under fake time.
type keeping struct {
	t           *testing.T
	dir         dir
	known       cache.Known
	lost        bool
	own, others chan struct{}
	log         bytes.Buffer
	stop        func()
}

func keep(t *testing.T, f func(k *keeping)) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeping{t: t, known: known(3), own: make(chan struct{}, 1), others: make(chan struct{}, 1)}
		keeper := &cache.Keeper{Dir: &k.dir, Own: k.own, Others: k.others, Log: slog.New(slog.NewTextHandler(&k.log, nil)),
			Known: func() (known cache.Known, ok bool) {
				k.set(func() { known, ok = k.known, !k.lost })
				return known, ok
			}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- keeper.Run(ctx) }()
		k.stop = func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			k.stop = func() {}
		}
		synctest.Wait()
		f(k)
		k.stop()
	})
}

// set changes something that the Keeper looks at.
func (k *keeping) set(f func()) {
	k.dir.mu.Lock()
	defer k.dir.mu.Unlock()
	f()
}

// after lets time pass and wants so many writes to have been made, the last of
// which says what is known.
func (k *keeping) after(d time.Duration, saves int) {
	k.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	var n int
	if k.set(func() { n = k.dir.saves }); n != saves {
		k.t.Fatalf("after %s it was written %d times, want %d", d, n, saves)
	}
}

func (k *keeping) says(want cache.Known) {
	k.t.Helper()
	data, err := k.dir.Load(cache.File)
	if err != nil {
		k.t.Fatal(err)
	}
	got, err := cache.Decode(data)
	if err != nil {
		k.t.Fatal(err)
	}
	same(k.t, want, got)
}

func TestRunWritesAtTheStartAndThenNothingForDays(t *testing.T) {
	keep(t, func(k *keeping) {
		k.after(0, 1)
		k.says(k.known)
		k.after(1000*time.Hour, 1)
		k.stop()
		k.after(0, 1)
	})
}

func TestRunWritesTheOwnLeaseAtOnce(t *testing.T) {
	keep(t, func(k *keeping) {
		for i := range 5 {
			k.set(func() { k.known.Own, k.known.Until = lease(10+i), k.known.Until.Add(time.Hour) })
			k.own <- struct{}{}
			k.after(0, 2+i)
			k.says(k.known)
		}
	})
}

func TestRunCollectsWhatOthersDo(t *testing.T) {
	keep(t, func(k *keeping) {
		// Right after the first write.
		for i := range 12 {
			k.set(func() { k.known.Peers = append(k.known.Peers, lease(100+i)) })
			k.others <- struct{}{}
			k.after(40*time.Millisecond, 1)
		}
		k.after(500*time.Millisecond, 2)
		k.says(k.known)
		k.after(time.Hour, 2)
		// After a long silence.
		for i := range 9 {
			k.set(func() { k.known.Peers = append(k.known.Peers, lease(300+i)) })
			k.others <- struct{}{}
			k.after(50*time.Millisecond, 2)
		}
		k.after(500*time.Millisecond, 3)
		k.says(k.known)
	})
}

// That etcd has lost another host's lease must outlast the daemon.
func TestRunWritesThatALeaseIsKept(t *testing.T) {
	keep(t, func(k *keeping) {
		k.set(func() { k.known.Peers[0].Rev = 0 })
		k.others <- struct{}{}
		k.after(time.Second, 2)
		k.says(k.known)
	})
}

// However much changes, writing takes a hundredth of the time, once a second of it is used
// up; before, what is kept is as new as can be.
func TestRunIsBoundedInABusyCluster(t *testing.T) {
	keep(t, func(k *keeping) {
		k.set(func() { k.dir.slow = 100 * time.Millisecond })
		change := func(i int) {
			k.set(func() { k.known.Peers = append(k.known.Peers, lease(100+i)) })
			select {
			case k.others <- struct{}{}:
			default: // it is writing
			}
			time.Sleep(100 * time.Millisecond)
		}
		for i := range 10 {
			change(i)
		}
		k.after(time.Second, 3)
		k.says(k.known)
		for i := range 2000 {
			change(10 + i)
		}
		k.set(func() {
			if n := k.dir.saves; n < 20 || n > 40 {
				t.Errorf("%d writes of 100 ms in 200 s, want about 30", n)
			}
		})
	})
}

// A disk that was busy once does not make what is kept old for hours.
func TestRunWritesOnceAMinuteAtLeast(t *testing.T) {
	keep(t, func(k *keeping) {
		k.set(func() { k.dir.slow, k.known.Peers = 30*time.Second, append(k.known.Peers, lease(100)) })
		k.others <- struct{}{}
		k.after(40*time.Second, 2)
		k.set(func() { k.dir.slow, k.known.Peers = 0, append(k.known.Peers, lease(101)) })
		k.others <- struct{}{}
		k.after(20*time.Second, 2)
		k.after(time.Minute, 3)
		k.says(k.known)
	})
}

func TestRunWritesNothingWhenNothingChanged(t *testing.T) {
	keep(t, func(k *keeping) {
		k.set(func() { k.known.Saved = k.known.Saved.Add(time.Hour) })
		k.set(func() { k.known.Until.Wall = k.known.Until.Wall.Add(time.Microsecond) })
		k.set(func() {
			for i := range k.known.Peers { // all have been renewed
				k.known.Peers[i].Expires, k.known.Peers[i].Rev = k.known.Peers[i].Expires.Add(time.Hour), 99999
			}
		})
		k.own <- struct{}{}
		k.others <- struct{}{}
		k.after(time.Hour, 1)
	})
}

func TestRunWritesWhatIsLeftWhenItEnds(t *testing.T) {
	keep(t, func(k *keeping) {
		k.set(func() { k.known.Peers = k.known.Peers[1:] })
		k.others <- struct{}{}
		k.after(400*time.Millisecond, 1)
		k.stop()
		k.after(0, 2)
		k.says(k.known)
	})
}

func TestRunForgetsALeaseThatIsLost(t *testing.T) {
	keep(t, func(k *keeping) {
		k.set(func() { k.lost = true })
		k.own <- struct{}{}
		k.after(0, 1)
		if _, err := k.dir.Load(cache.File); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file is still there: %v", err)
		}
		k.set(func() { k.lost, k.known.Own = false, lease(9) })
		k.own <- struct{}{}
		k.after(0, 2)
		k.says(k.known)
	})
}

func TestRunTriesAgainAndComplainsOnce(t *testing.T) {
	keep(t, func(k *keeping) {
		before := k.known
		k.set(func() { k.dir.save = errors.New("no space left on device") })
		k.set(func() { k.known.Peers = append([]subnet.Lease{}, k.known.Peers[1:]...) })
		k.others <- struct{}{}
		k.after(time.Hour, 1)
		if n := strings.Count(k.log.String(), "no space left on device"); n != 1 {
			t.Errorf("%d complaints:\n%s", n, k.log.String())
		}
		k.says(before) // old, and true of the own lease
		k.set(func() { k.dir.save = nil })
		k.after(time.Minute, 2)
		k.says(k.known)
	})
}

// A file that names the subnet of before, which is another host's by now, is worse
// than none.
func TestRunRemovesAFileThatItCannotReplace(t *testing.T) {
	keep(t, func(k *keeping) {
		k.set(func() { k.dir.save = errors.New("no space left on device") })
		k.set(func() { k.known.Own = lease(9) })
		k.own <- struct{}{}
		k.after(0, 1)
		if _, err := k.dir.Load(cache.File); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file is still there: %v", err)
		}
		k.set(func() { k.dir.save = nil })
		k.after(time.Minute, 2)
		k.says(k.known)
	})
}

// What 5,000 hosts cost: a write to the disk, with what makes it survive a power
// failure.
func BenchmarkWrite(b *testing.B) {
	d, err := statedir.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	k := known(5000)
	for b.Loop() {
		if err := d.Save(cache.File, encode(b, k)); err != nil {
			b.Fatal(err)
		}
	}
}
