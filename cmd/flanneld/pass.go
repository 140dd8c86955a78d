package main

import (
	"slices"

	"flanneld/backend"
	"flanneld/backend/loop"
	"flanneld/cmd/internal/host"
	"flanneld/subnet"
)

// planes begins a pass.
func (d *daemon) planes() ([]backend.Plane, []backend.Fault) {
	d.reloading = d.reload.Swap(false) || d.reloading
	own, state := d.own()
	leases := d.view.Leases()
	if state == subnet.Conflict { // the one that is being taken may be there already
		leases = slices.DeleteFunc(leases, func(l subnet.Lease) bool {
			return l.Key() != own.Key() && l.V4.PublicIP == own.V4.PublicIP
		})
	}
	return backend.Planes(backend.Members{V4: d.cfg.V4.Network, V6: d.cfg.V6.Network, Own: own, Leases: leases,
		Local: d.local, Blackhole: d.opts.BlackholeRoute, Fenced: d.opts.Fence && !state.Safe()})
}

// passed hands over to Docker once the datapath and the firewall are in place. It
// runs in the loop's goroutine.
func (d *daemon) passed(p loop.Pass) error {
	d.once.Do(func() { close(d.passedOnce) })
	defer d.reloaded()
	if !p.Ready {
		d.board.Incomplete(p.Err)
		return nil
	}
	lease, state := d.own()
	if state == subnet.Conflict || !state.Safe() && d.handedOver == (host.Handover{}) {
		return nil // Docker would be started with a subnet that is, or may be, another host's
	}
	if now := (host.Handover{Key: lease.Key(), MTU: p.MTU}); now != d.handedOver || d.reloading || d.fileIsGone() {
		before := d.handedOver
		if err := d.subnetFile().Write(now); err != nil {
			if before == (host.Handover{}) {
				return err
			}
			d.unwritten(err)
			return nil
		}
		d.unwritten(nil)
		d.handedOver = now
		d.mu.Lock()
		d.told = now
		d.mu.Unlock()
		if before.MTU != 0 && before.MTU != now.MTU {
			d.log.Warn("The MTU of the overlay has changed. Restart Docker to use it; containers keep the old one until then",
				"mtu", now.MTU, "before", before.MTU)
		}
		if before == (host.Handover{}) {
			d.handed.Store(true)
			d.tell.Ready()
			d.log.Info("flannel is ready")
			d.started()
		}
	}
	d.board.Complete(lease.Key(), p.Peers)
	return nil
}

func (d *daemon) subnetFile() host.SubnetFile {
	return host.SubnetFile{Path: d.opts.SubnetFile, Network: d.cfg.V4.Network, NetworkV6: d.cfg.V6.Network, IPMasq: d.opts.IPMasq, Log: d.log}
}

func (d *daemon) watchHost() host.Watch {
	return host.Watch{Bridge: d.opts.DockerBridge, Forward: changesNetwork(d.cfg.Type), Trouble: d.board.SetTrouble, Log: d.log,
		Told: func() host.Handover {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.told
		}}
}

// fileIsGone reports whether somebody has removed the subnet file.
func (d *daemon) fileIsGone() bool {
	gone := d.subnetFile().Gone()
	if gone && d.handed.Load() && d.noFile == "" {
		d.log.Warn("The subnet file is gone; writing it again", "file", d.opts.SubnetFile)
	}
	return gone
}

// unwritten says once that the subnet file cannot be written; nil: it is. A daemon that
// runs goes on: it is tried again with each pass, and forwarding needs no file.
func (d *daemon) unwritten(err error) {
	if err == nil {
		d.noFile = ""
		return
	}
	if d.noFile != err.Error() {
		d.noFile = err.Error()
		d.log.Error(d.noFile)
	}
	d.board.Unwritten(err)
}
