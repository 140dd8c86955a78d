package host

import (
	"context"
	"log/slog"
	"os"
	"time"

	"flanneld/pkg/systemd"
	"flanneld/pkg/wake"
)

// Reload looks at everything again when an operator asks for it: the configuration, of
// which it says whether a restart would change something; the kernel; and the subnet
// file. Flags and variables stay those of the start.
type Reload struct {
	Docker  *Docker
	Notify  *systemd.Notifier
	Compare func(ctx context.Context) // logs how the configuration differs from the one in use
	Wake    wake.Chan                 // of the loop that makes passes
	Log     *slog.Logger
}

// compareTime is the longest time that a reload asks the store.
const compareTime = 8 * time.Second

// Run reloads at each signal until ctx is done, and then returns nil.
func (r Reload) Run(ctx context.Context, signals <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
		}
		if r.Docker.Told() == (Handover{}) {
			r.Log.Info("Asked to reload before the host is ready: there is nothing yet to look at again")
			continue
		}
		r.Log.Info("Reloading: looking at the configuration, the kernel and the subnet file again. " +
			"Flags and variables stay those of the start; a restart reads them")
		r.Notify.Reloading()
		bound, cancel := context.WithTimeout(ctx, compareTime)
		r.Compare(bound)
		cancel()
		r.Docker.Reload()
		r.Wake.Wake()
	}
}
