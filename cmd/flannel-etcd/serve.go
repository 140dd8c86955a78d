package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/wal"
	"go.uber.org/zap"
)

// stopTime is how long a clean stop may take. Data that were acknowledged are on
// the disk anyway.
const stopTime = 10 * time.Second

// serve runs etcd until ctx ends, which is no error.
func serve(ctx context.Context, o options, log, etcdLog *zap.Logger) error {
	if err := readableFiles(o); err != nil {
		return err
	}
	d, err := inspect(o.DataDir) // before anything is written there
	if err != nil {
		return err
	}
	lock, err := lockDir(o.DataDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	copied, err := claim(o.DataDir, d, time.Now())
	if err != nil {
		return err
	}
	if copied != "" {
		log.Info("Another version of etcd has used the data; a copy is in " + copied)
	}
	e, err := start(ctx, config(o, etcdLog))
	if err != nil {
		return err
	}
	if e == nil {
		return nil // asked to stop before it was up
	}
	err = watch(ctx, e, o, log)
	notify(log, "STOPPING=1")
	return errors.Join(err, stop(e))
}

// start returns the running etcd, which need not have a leader yet; nil if ctx
// ended before.
func start(ctx context.Context, c *embed.Config) (*embed.Etcd, error) {
	wal.SegmentSizeBytes = walSegmentBytes
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
			return nil, explain(r.err, c)
		}
		return r.e, nil
	case <-ctx.Done():
		// It asks the other members who they are, and cannot be told to stop. It
		// has written nothing that matters.
		return nil, nil
	}
}

// explain adds the remedy to what etcd says.
func explain(err error, c *embed.Config) error {
	remedy := ""
	switch text := err.Error(); {
	case errors.Is(err, syscall.EADDRINUSE):
		remedy = "another process listens there; stop it, or give other --listen-client-urls or --listen-peer-urls"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		remedy = "it is no address of this host; see --listen-client-urls, --listen-peer-urls and --cluster"
	case strings.Contains(text, "has already been bootstrapped"):
		remedy = "the other members know this one, and its data are gone: remove it from the cluster, add it again, and start it once with --initial-cluster-state=existing"
	case strings.Contains(text, "error validating peerURLs"), strings.Contains(text, "member count is unequal"):
		remedy = "the list of members is not what the running cluster has; see --cluster or --initial-cluster"
	case strings.Contains(text, "cannot fetch cluster info"):
		remedy = "no member of the existing cluster answers at " + c.InitialCluster
	case strings.Contains(text, "tls:"), strings.Contains(text, "x509:"):
		remedy = "see the certificates' files"
	}
	if remedy == "" {
		return fmt.Errorf("start etcd: %w", err)
	}
	return fmt.Errorf("start etcd: %w (%s)", err, remedy)
}

// watch tells systemd when etcd has a leader, and returns when ctx ends or etcd
// does.
func watch(ctx context.Context, e *embed.Etcd, o options, log *zap.Logger) error {
	ready := e.Server.ReadyNotify()
	if len(o.Members) > 1 {
		log.Info(fmt.Sprintf("Waits for a majority of the %d members", len(o.Members)))
		notify(log, "STATUS=waits for a majority of the members")
	}
	for {
		select {
		case <-ready:
			ready = nil
			log.Info("Ready: clients are served at " + o.Clients.String())
			notify(log, "READY=1\nSTATUS=serves clients at "+o.Clients.String())
		case err := <-e.Err():
			return fmt.Errorf("etcd ended: %w", err)
		case <-e.Server.StopNotify():
			if ctx.Err() != nil {
				return nil
			}
			return errors.New("etcd ended by itself: this member has been removed from the cluster, or its data cannot be used (to add it anew, move the data directory away and start once with --initial-cluster-state=existing)")
		case <-ctx.Done():
			return nil
		}
	}
}

// stop ends the member, within bounds: it gives leadership away and closes its
// files. Connections end with the process. embed's own Close would first wait
// five seconds for the polls that flanneld always has open.
func stop(e *embed.Etcd) error {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		e.Server.Stop()
	}()
	select {
	case <-closed:
		return nil
	case <-time.After(stopTime):
		return fmt.Errorf("etcd did not end within %s", stopTime)
	}
}

func notify(log *zap.Logger, state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		log.Warn("Cannot notify systemd", zap.String("state", state), zap.Error(err))
	}
}

// readableFiles makes sure that the TLS files can be read, since etcd's errors
// do not say which one cannot.
func readableFiles(o options) error {
	for _, t := range []tlsFiles{o.ClientTLS, o.PeerTLS} {
		for _, name := range []string{t.Cert, t.Key, t.CA} {
			if name == "" {
				continue
			}
			f, err := os.Open(name)
			if err != nil {
				return fmt.Errorf("read TLS file: %w (under systemd the unit's user must be able to; see LoadCredential= in docs/etcd.md)", err)
			}
			f.Close()
		}
	}
	return nil
}
