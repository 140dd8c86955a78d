package chaos

import (
	"fmt"
	"os"
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
	}{
		{20, 40 * time.Second}, // nearly full: what expires is taken at once
		{256, 15 * time.Second},
	} {
		t.Run(fmt.Sprintf("pool of %d", tt.pool), func(t *testing.T) {
			r := &run{pool: tt.pool, length: length(t, tt.usual), live: live, frozen: 3}
			events, notes := r.do(t)
			v := judge(events, notes)
			ops := linearizable(t, events, notes)
			t.Logf("%d events, %d operations, %d beliefs", len(events), ops, len(beliefs(notes, now())))
			for _, list := range [][]string{v.twice, v.superseded, v.overwrites} {
				for _, line := range list {
					t.Error(line)
				}
			}
			if held := len(beliefs(notes, now())); held < hosts {
				t.Errorf("%d beliefs: the run has shown nothing", held)
			}
		})
	}
}

func TestOldRulesAreFoundGuilty(t *testing.T) {
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
