package main

import (
	"context"
)

// lifelines are of the loops that, if they hang, leave a host that looks well and
// is not, and that a restart sets right. Not asked is what waits for etcd: its
// requests are bounded one by one, and no restart brings etcd back.
func (d *daemon) lifelines() []func(context.Context) error {
	return []func(context.Context) error{d.passes.Alive, d.holding.Alive, d.loop.CheckForwarder}
}
