package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// length is how long faults last in a run: CHAOSTIME, or what the test says.
func length(t testing.TB, usual time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("CHAOSTIME")
	if text == "" {
		return usual
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("CHAOSTIME: %v", err)
	}
	return d
}

func TestNoSubnetHasTwoOwners(t *testing.T) {
	for _, tt := range []struct {
		pool  int
		usual time.Duration
		v3    bool
	}{
		{20, 90 * time.Second, false}, // nearly full: what expires is taken at once
		{256, 90 * time.Second, false},
		{20, 60 * time.Second, true},
	} {
		t.Run(fmt.Sprintf("pool of %d, v3 %t", tt.pool, tt.v3), func(t *testing.T) {
			t.Parallel()
			r := &run{pool: tt.pool, length: length(t, tt.usual), live: live, v3: tt.v3, frozen: 3}
			events, notes := r.do(t)
			evidence{events, notes}.judge(t, "")
			if held := len(beliefs(notes, now())); held < hosts {
				t.Errorf("%d beliefs: the run has shown nothing", held)
			}
		})
	}
}

func TestOldRulesAreFoundGuilty(t *testing.T) {
	t.Parallel()
	var v verdict
	r := &run{pool: 20, length: 3 * time.Minute, live: liveOld, stop: func(events []event, notes []note) bool {
		v = judge(events, notes)
		return len(v.twice) > 0 && len(v.superseded) > 0 && len(v.overwrites) > 0
	}}
	r.do(t)
	t.Logf("%d times two owners, together %v; %d beliefs after the end; %d overwrites", len(v.twice), v.together.Round(10*time.Millisecond), len(v.superseded), len(v.overwrites))
	if len(v.twice) == 0 || len(v.superseded) == 0 || len(v.overwrites) == 0 {
		t.Error("the checks do not find what they are there for")
	}
}

// judge fails the test by what is wrong with a run, and leaves in dir what shows it;
// empty: where the test leaves it.
func (e evidence) judge(t testing.TB, dir string) {
	t.Helper()
	v := judge(e.Events, e.Notes)
	count, bad := linearizable(t, e.Events, e.Notes)
	t.Logf("%d events, %d operations, %d beliefs", len(e.Events), count, len(beliefs(e.Notes, now())))
	for _, list := range [][]string{v.twice, v.superseded, v.overwrites} {
		for _, line := range list {
			t.Error(line)
		}
	}
	if !t.Failed() {
		return
	}
	if dir == "" {
		dir = leave(t)
		e.save(t, dir)
	}
	journal(t, dir, e.Events, e.Notes)
	for key, ops := range bad {
		draw(t, dir, key, ops)
	}
	t.Logf("see %s", dir)
}

// journal writes down what has happened, a line each, in the order of the clock.
func journal(t testing.TB, dir string, events []event, notes []note) {
	t.Helper()
	type line struct {
		at   moment
		text string
	}
	var lines []line
	for _, e := range events {
		before := "nobody"
		if e.PrevNode != nil {
			before = owner(e.PrevNode.Value)
			if e.PrevNode.Expiration != nil {
				before += " until " + e.PrevNode.Expiration.Format(time.TimeOnly+".000")
			}
		}
		lines = append(lines, line{e.Seen, fmt.Sprintf("%s %s of %s over %s, revision %d", e.lease(), e.Action, owner(e.Node.Value), before, e.index())})
	}
	for _, n := range notes {
		at := n.At
		if n.At == never {
			at = n.Call
		}
		text := fmt.Sprintf("%s %s %s %s %s, revision %d", n.Key, n.Host, n.Kind, n.ID, n.Done, n.Rev)
		if n.Done != "" && n.At != never {
			text += fmt.Sprintf(", took %v", n.At.sub(n.Call))
		}
		if n.Kind == hold {
			text += fmt.Sprintf(", for %v", n.Until.sub(n.At))
		}
		for key, value := range n.All {
			text += fmt.Sprintf("\n\t%s %s", key, owner(value))
		}
		lines = append(lines, line{at, text})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return int(a.at.sub(b.at)) })
	f, err := os.Create(filepath.Join(dir, "journal"))
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	zero := time.Now().Add(-time.Duration(now()))
	for _, l := range lines {
		fmt.Fprintf(f, "%s %s\n", zero.Add(time.Duration(l.at)).Format(time.TimeOnly+".000"), l.text)
	}
}
