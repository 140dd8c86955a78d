package script

import (
	"testing"
	"time"
)

func TestExcused(t *testing.T) {
	for _, row := range []struct{ wall, stalled, want time.Duration }{
		{time.Second, 0, 0},
		{time.Second, 200 * time.Millisecond, 200 * time.Millisecond},
		{time.Second, 2 * time.Second, 900 * time.Millisecond}, // both processor and disk
		{time.Minute, 50 * time.Second, excusable},
		{time.Second, -time.Hour, 0},
	} {
		if got := excused(row.wall, row.stalled); got != row.want {
			t.Errorf("excused(%s, %s) = %s, want %s", row.wall, row.stalled, got, row.want)
		}
	}
}

func TestParsePressure(t *testing.T) {
	const text = "some avg10=24.69 avg60=22.96 avg300=19.95 total=28197991841\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
	if got, err := parsePressure([]byte(text)); got != 28197991841*time.Microsecond || err != nil {
		t.Errorf("parsePressure = %s, %v", got, err)
	}
	for _, text := range []string{"", "full avg10=0.00 total=1\n", "some avg10=0.00\n", "some total=x\n"} {
		if got, err := parsePressure([]byte(text)); err == nil {
			t.Errorf("parsePressure(%q) = %s", text, got)
		}
	}
}
