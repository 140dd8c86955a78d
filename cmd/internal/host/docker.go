package host

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"flanneld/cmd/internal/status"
	"flanneld/pkg/logonce"
	"flanneld/subnet"
)

// Docker is told which subnet is this host's, once its packets are forwarded: by the
// subnet file, and by READY=1 for systemd. Begin, Incomplete and Done are called by the
// goroutine that makes passes, the other methods by anybody.
type Docker struct {
	File  SubnetFile
	Board *status.Board
	Ready func() // tells systemd that the host is ready, or has reloaded
	Log   *slog.Logger

	reload    atomic.Bool  // the next pass that begins is to look at the file as well
	reloading bool         // the present pass does
	unwritten logonce.Line // why the file cannot be written

	mu   sync.Mutex
	told Handover
}

// Told returns what Docker was told last.
func (d *Docker) Told() Handover {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.told
}

// Reload makes the next pass that begins compare the subnet file, too, and call Ready.
func (d *Docker) Reload() { d.reload.Store(true) }

// Begin is called when a pass begins: one that was under way when a reload was asked for
// may have looked before.
func (d *Docker) Begin() { d.reloading = d.reload.Swap(false) || d.reloading }

// Incomplete follows a pass that has not put everything in place. The error is the
// datapath's; nil: the firewall's rules are missing.
func (d *Docker) Incomplete(err error) {
	d.Board.Incomplete(err)
	d.reloaded()
}

// Done follows a pass that has put everything in place for so many peers. It returns an
// error if the file cannot be written at the start. Later on the daemon goes on without
// it, since forwarding needs no file, and tries again after each pass.
func (d *Docker) Done(l subnet.Lease, s subnet.State, mtu, peers int) error {
	defer d.reloaded()
	before := d.Told()
	if s == subnet.Conflict || !s.Safe() && before == (Handover{}) {
		return nil // Docker would be started with a subnet that is, or may be, another host's
	}
	if now := (Handover{l.Key(), mtu}); now != before || d.reloading || d.isGone() {
		if err := d.File.Write(now); err != nil {
			if before == (Handover{}) {
				return err
			}
			if d.unwritten.ChangedError(err) {
				d.Log.Error(err.Error())
			}
			d.Board.Unwritten(err)
			return nil
		}
		d.unwritten.Changed("")
		d.mu.Lock()
		d.told = now
		d.mu.Unlock()
		if before.MTU != 0 && before.MTU != mtu {
			d.Log.Warn("The MTU of the overlay has changed. Restart Docker to use it; containers keep the old one until then",
				"mtu", mtu, "before", before.MTU)
		}
		if before == (Handover{}) {
			d.Ready()
			d.Log.Info("flannel is ready")
		}
	}
	d.Board.Complete(l.Key(), peers)
	return nil
}

// isGone reports whether somebody has removed the subnet file.
func (d *Docker) isGone() bool {
	gone := d.File.Gone()
	if gone && d.unwritten.Text() == "" {
		d.Log.Warn("The subnet file is gone; writing it again", "file", d.File.Path)
	}
	return gone
}

func (d *Docker) reloaded() {
	if d.reloading {
		d.reloading = false
		d.Log.Info("Reloaded")
		d.Ready()
	}
}
