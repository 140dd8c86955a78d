package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/wal"
	"go.uber.org/zap"
)

// serve runs etcd until ctx ends, which is no error.
func serve(ctx context.Context, c *embed.Config, log *zap.Logger) error {
	if err := inspect(c.Dir); err != nil { // before anything is written there
		return err
	}
	e, err := start(ctx, c)
	if err != nil {
		return err
	}
	if e == nil {
		return nil // asked to stop before it was up
	}
	err = watch(ctx, e, c, log)
	notify(log, "STOPPING=1")
	// embed's Close would first wait five seconds for the polls that flanneld always has
	// open. Connections end with the process.
	e.Server.Stop()
	return err
}

// start returns the running etcd, which need not have a leader yet; nil if ctx
// ended before.
func start(ctx context.Context, c *embed.Config) (*embed.Etcd, error) {
	// Files of etcd's log are written full of zeros before they are used: with its own 64 MB
	// that is most of a start.
	wal.SegmentSizeBytes = 2 << 20
	type result struct {
		e   *embed.Etcd
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil { // damaged data
				done <- result{err: fmt.Errorf("etcd: %v", r)}
			}
		}()
		e, err := embed.StartEtcd(c)
		done <- result{e, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, explain(r.err)
		}
		return r.e, nil
	case <-ctx.Done():
		// It asks the other members who they are, and cannot be told to stop.
		return nil, nil
	}
}

// explain adds the remedy to what etcd says.
func explain(err error) error {
	remedy := ""
	switch {
	default:
		return fmt.Errorf("start etcd: %w", err)
	case errors.Is(err, syscall.EADDRINUSE):
		remedy = "another process listens there; stop it, or give other --listen-client-urls or --listen-peer-urls"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		remedy = "it is no address of this host; see --listen-client-urls and --listen-peer-urls"
	case strings.Contains(err.Error(), "has already been bootstrapped"):
		remedy = "the other members know this one, and its data are gone: remove it from the cluster, add it again, and start it once with --initial-cluster-state=existing"
	case errors.Is(err, fs.ErrPermission):
		remedy = "under systemd the unit's user must be able to read it; see LoadCredential= in docs/flannel-etcd.md"
	}
	return fmt.Errorf("start etcd: %w (%s)", err, remedy)
}

// watch tells systemd when etcd has a leader, and returns when ctx ends or etcd
// does.
func watch(ctx context.Context, e *embed.Etcd, c *embed.Config, log *zap.Logger) error {
	ready := e.Server.ReadyNotify()
	clients := types.URLs(c.ListenClientUrls).String()
	if n := len(e.Server.Cluster().Members()); n > 1 {
		log.Info(fmt.Sprintf("Waits for a majority of the %d members", n))
		notify(log, "STATUS=waits for a majority of the members")
	}
	for {
		select {
		case <-ready:
			ready = nil
			log.Info("Ready: clients are served at " + clients)
			notify(log, "READY=1\nSTATUS=serves clients at "+clients)
		case err := <-e.Err():
			return fmt.Errorf("etcd ended: %w", err)
		case <-e.Server.StopNotify():
			return errors.New("etcd ended by itself: this member has been removed from the cluster, or its data cannot be used (to add it anew, move the data directory away and start once with --initial-cluster-state=existing)")
		case <-ctx.Done():
			return nil
		}
	}
}

func notify(log *zap.Logger, state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		log.Warn("Cannot notify systemd", zap.String("state", state), zap.Error(err))
	}
}
