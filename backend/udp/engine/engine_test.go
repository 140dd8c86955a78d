package engine

import (
	"testing"
)

func TestPing(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	must(t, a.c.Run("ping", "-c3", "-i0.1", "-W2", "-q", b.c.Addr().Addr().String()))
	r := client(t, a.c, b.c, "-t", "1")
	t.Logf("%.2f Gbit/s", r.End.Received.Bits/1e9)
	t.Logf("%+v", a.Counters())
	t.Logf("%+v", b.Counters())
	a.drops(t)
	b.drops(t)
}
