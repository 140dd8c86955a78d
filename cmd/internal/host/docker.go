package host

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"flanneld/cmd/internal/status"
	"flanneld/pkg/envfile"
	"flanneld/pkg/logonce"
	"flanneld/pkg/wake"
	"flanneld/subnet"
)

// Handover is what Docker is told. The zero Handover: nothing yet.
type Handover struct {
	Key subnet.Key
	MTU int // of the overlay, in bytes
}

// Docker is told which subnet is this host's, once its packets are forwarded: by the
// subnet file, and by READY=1 for systemd. Begin, Incomplete and Done are called by the
// goroutine that makes passes, the other methods by anybody.
type Docker struct {
	SubnetFile         string       // its path
	Network, NetworkV6 netip.Prefix // NetworkV6 is zero if no IPv6 is forwarded
	IPMasq             bool         // Docker need not masquerade, because we do
	Board              *status.Board
	Ready              func() // tells systemd that the host is ready, or has reloaded
	Log                *slog.Logger

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

// compareTime is the longest time that a reload asks the store.
const compareTime = 8 * time.Second

// Reload looks at everything again at each signal, until ctx is done, and then returns
// nil: at the configuration, of which compare logs how it differs from the one in use; at
// the kernel, by waking the loop that makes passes; and at the subnet file. Systemd is
// told before, by reloading.
func (d *Docker) Reload(ctx context.Context, signals <-chan os.Signal, reloading func(), compare func(context.Context), loop wake.Chan) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
		}
		if d.Told() == (Handover{}) {
			d.Log.Info("Asked to reload before the host is ready: there is nothing to check yet")
			continue
		}
		d.Log.Info("Reloading: checking the configuration, the kernel and the subnet file. " +
			"Only a restart reads flags and variables again")
		reloading()
		bound, cancel := context.WithTimeout(ctx, compareTime)
		compare(bound)
		cancel()
		d.reload.Store(true)
		loop.Wake()
	}
}

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
		if err := d.write(now); err != nil {
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

func (d *Docker) reloaded() {
	if d.reloading {
		d.reloading = false
		d.Log.Info("Reloaded")
		d.Ready()
	}
}

// isGone reports whether somebody has removed the subnet file: the next start of Docker
// would find none.
func (d *Docker) isGone() bool {
	_, err := os.Stat(d.SubnetFile)
	if err != nil && d.unwritten.Text() == "" {
		d.Log.Warn("The subnet file is gone; writing it again", "file", d.SubnetFile)
	}
	return err != nil
}

// CheckSubnetFile returns an error if something is at the path that no file can be put in the
// place of. It is called before a lease is taken that Docker could not be told of.
func CheckSubnetFile(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("Failed to write subnet file: %s is not a regular file (give another one with --subnet-file)", path)
	}
	return nil
}

// write writes the subnet file, unless it says the same already.
func (d *Docker) write(h Handover) error {
	var b strings.Builder
	line := func(family string, network, subnet netip.Prefix) {
		first := netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
		fmt.Fprintf(&b, "FLANNEL_%sNETWORK=%s\nFLANNEL_%sSUBNET=%s\n", family, network, family, first)
	}
	line("", d.Network, h.Key.V4)
	if d.NetworkV6.IsValid() {
		line("IPV6_", d.NetworkV6, h.Key.V6)
	}
	fmt.Fprintf(&b, "FLANNEL_MTU=%d\nFLANNEL_IPMASQ=%t\n", h.MTU, d.IPMasq)
	written, err := envfile.WriteIfChanged(d.SubnetFile, []byte(b.String()))
	if err != nil {
		return fmt.Errorf("Failed to write subnet file: %w (give another one with --subnet-file)", err)
	}
	if written {
		d.Log.Info("Wrote subnet file to " + d.SubnetFile)
	} else {
		d.Log.Info("The subnet file " + d.SubnetFile + " is up to date")
	}
	return nil
}
