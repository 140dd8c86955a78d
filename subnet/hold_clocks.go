package subnet

import "time"

// clocks are what three clocks showed at one moment. They go on together, but for
// a suspended host, whose monotonic clock stands still, for a paused or restored
// virtual machine, whose wall clock alone goes on, and for a wall clock that is set.
type clocks struct {
	up   time.Duration
	wall time.Time
	mono time.Time
}

func newClocks(c Clock) clocks {
	up, wall := c()
	return clocks{up, wall.Round(0), time.Now()}
}

// since returns by how much at most two clocks have gone apart since then, and how
// long that was.
func (c clocks) since(then clocks) (apart, passed time.Duration) {
	up, wall, mono := c.up-then.up, c.wall.Sub(then.wall), c.mono.Sub(then.mono)
	return max((up - mono).Abs(), (up - wall).Abs()), up
}

// look finds out whether the host was away. If so the lease is looked for in the
// store before anything is done about it.
func (k *keeper) look() {
	now := newClocks(k.Clock)
	apart, passed := now.since(k.clocks)
	k.clocks = now
	if apart < k.gap && passed < k.tick+k.patience+k.gap {
		return
	}
	k.Log.Info("The host was suspended or stopped, or its clock was set; looking for the lease in etcd",
		"clocks apart", apart.Round(time.Second), "passed", passed.Round(time.Second))
	if k.next == renewing {
		k.next = settling
	}
	k.due = now.up
}
