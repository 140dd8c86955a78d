package backend_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

func TestLoopLogsChangesOfTheOutcomeOnly(t *testing.T) {
	outcomes := []string{"", "", "first", "first", "second", "", "", "first"}
	fail := func(pass int) error {
		if o := outcomes[min(pass, len(outcomes))-1]; o != "" {
			return errors.New(o)
		}
		return nil
	}
	run(t, func(b *bench) { b.backend.fail, b.loop.Resync = fail, time.Second }, func(b *bench) {
		time.Sleep(time.Minute)
		synctest.Wait()
		var lines []string
		for line := range strings.Lines(b.log.String()) {
			_, said, _ := strings.Cut(strings.TrimSpace(line), " level=")
			lines = append(lines, said)
		}
		want := []string{
			`ERROR msg="Datapath is not as it should be; trying again" err=first`,
			`ERROR msg="Datapath is not as it should be; trying again" err=second`,
			`INFO msg="Datapath is in step again" peers=0`,
			`ERROR msg="Datapath is not as it should be; trying again" err=first`,
		}
		if d := cmp.Diff(want, lines); d != "" {
			t.Errorf("log (-want +got):\n%s", d)
		}
		if passes, _ := b.backend.seen(); len(passes) < len(outcomes) {
			t.Errorf("only %d passes", len(passes))
		}
	})
}

func TestLoopTellsDone(t *testing.T) {
	route := &datapath.OpError{Op: datapath.Op{Object: datapath.Route{Dst: netip.MustParsePrefix("10.5.2.0/24")}}, Err: errors.New("unreachable")}
	outcomes := []error{
		nil,
		&datapath.ApplyError{Total: 5, Failed: []error{route}},
		&datapath.ApplyError{Total: 5, Failed: []error{route, route, route}},
		errors.New("no buffers"),
	}
	want := []backend.Pass{
		{Peers: 3, Forwarding: true},
		{Peers: 3, Err: outcomes[1], Forwarding: true},
		{Peers: 3, Err: outcomes[2]},
		{Peers: 3, Err: outcomes[3]},
	}
	var told []backend.Pass
	run(t, func(b *bench) {
		b.loop.Resync = time.Second
		b.loop.Planes = func() []backend.Plane {
			return []backend.Plane{{Peers: make([]subnet.Claim, 3)}, {Peers: make([]subnet.Claim, 2)}}
		}
		b.backend.fail = func(pass int) error { return outcomes[min(pass, len(outcomes))-1] }
		b.loop.Done = func(p backend.Pass) error { told = append(told, p); return nil }
	}, func(b *bench) {
		time.Sleep(time.Minute)
		synctest.Wait()
		if !slices.Equal(told[:len(want)], want) {
			t.Errorf("Done was told %v, want %v", told[:len(want)], want)
		}
		if passes, _ := b.backend.seen(); len(told) != len(passes) {
			t.Errorf("Done was told of %d passes of %d", len(told), len(passes))
		}
	})
}

func TestLoopEndsWithDonesError(t *testing.T) {
	full := errors.New("disk is full")
	run(t, func(b *bench) {
		b.loop.Done = func(backend.Pass) error {
			if passes, _ := b.backend.seen(); len(passes) == 2 {
				return full
			}
			return nil
		}
	}, func(b *bench) {
		b.changed <- struct{}{}
		if err := <-b.ended; !errors.Is(err, full) {
			t.Errorf("Run: %v, want %v", err, full)
		}
		b.ended <- nil // run looks at it too
		time.Sleep(time.Hour)
		b.began(0, 11*time.Millisecond)
	})
}

// TestLoopEndsWithItsContext at every stage: in a pass, in the pause after it and
// in the wait for a reason. Done hears of no pass that was cut short.
func TestLoopEndsWithItsContext(t *testing.T) {
	for stage, after := range map[string]time.Duration{
		"in a pass": 5 * time.Millisecond, "in the pause": 50 * time.Millisecond, "in the wait": time.Second,
	} {
		t.Run(stage, func(t *testing.T) {
			told := 0
			run(t, func(b *bench) {
				b.backend.takes = 10 * time.Millisecond
				b.loop.Done = func(backend.Pass) error { told++; return nil }
			}, func(b *bench) {
				time.Sleep(after)
				b.cancel()
				start := time.Now()
				if err := <-b.ended; err != nil || time.Since(start) != 0 {
					t.Errorf("Run: %v after %s, want nil at once", err, time.Since(start))
				}
				b.ended <- nil
				if want := map[bool]int{true: 0, false: 1}[stage == "in a pass"]; told != want {
					t.Errorf("Done was told of %d passes, want %d", told, want)
				}
				if b.log.String() != "" {
					t.Errorf("log is %s, want nothing", &b.log)
				}
			})
		})
	}
}
