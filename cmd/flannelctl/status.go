package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/options"
	"flanneld/cmd/internal/status"
)

const statusHelp = `Print how this host is, as its daemon knows it: the lease, the way packets go,
etcd, and what is wrong. It asks neither the kernel nor etcd, and changes nothing.

If no daemon runs, it prints what the files say that the last one left: the
subnet file, and for root the state directory.

The exit status is 0 if the host is ready, 1 if it is not or there is trouble,
and 2 if that cannot be told. With --wait it is 0 as soon as the host is ready.
With -o json it prints what docs/status.md describes.`

// asking is one call of a command that asks a daemon.
type asking struct {
	*call
	places options.Daemon
	brief  bool
	wait   time.Duration
}

// asksDaemon gives a command the flags that say where the daemon is.
func (a *asking) asksDaemon(cmd *cobra.Command) *cobra.Command {
	flags := cmd.Flags()
	flags.SortFlags = false
	options.PlaceFlags(&a.places).Add(flags)
	cmd.PreRunE = func(*cobra.Command, []string) error { return options.CompletePlaces(&a.places, flags, a.env) }
	return cmd
}

func statusCommand(c *call) *cobra.Command {
	a := &asking{call: c}
	cmd := &cobra.Command{
		Use:   "status [--brief] [--wait=DURATION]",
		Short: "Show how this host is",
		Long:  statusHelp,
		Example: `  flannelctl status
  flannelctl status --brief --wait=60s   # in a script, before containers start`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context()) },
	}
	cmd.Flags().BoolVar(&a.brief, "brief", false, "print one line")
	cmd.Flags().DurationVar(&a.wait, "wait", 0, "wait until the host is ready, for a `DURATION` such as 60s at most")
	cmd.Flags().Lookup("wait").DefValue = "" // help does not say that without it there is none
	return a.asksDaemon(cmd)
}

func (a *asking) status(ctx context.Context) error {
	if a.wait < 0 {
		return options.UsageError{Msg: "--wait is negative", Hint: "give a duration such as 60s"}
	}
	peers := 0
	if a.output == "json" {
		peers = status.MostPeers
	}
	s, err := a.awaitReady(ctx, peers)
	if err != nil {
		return err
	}
	switch {
	case a.output == "json":
		err = a.printJSON(s)
	case a.brief:
		_, err = fmt.Fprintln(a.stdout, verdict(s))
	default:
		err = printStatus(a.stdout, s)
	}
	switch {
	case err != nil:
		return failure{err, ""}
	case !s.Ready && a.wait > 0:
		return failure{fmt.Errorf("this host is not ready after %s", a.wait), ""}
	case !s.Ready || a.wait == 0 && len(trouble(s)) > 0:
		return errNotWell
	}
	return nil
}

// pollTime is the time between two looks, of which one costs the daemon some microseconds.
const pollTime = 200 * time.Millisecond

// awaitReady asks until the host is ready, as long as the call may wait.
func (a *asking) awaitReady(ctx context.Context, peers int) (status.Status, error) {
	end, next := time.NewTimer(a.wait), time.NewTicker(pollTime)
	defer end.Stop()
	defer next.Stop()
	for {
		s, err := a.ask(ctx, peers)
		if err != nil || s.Ready || a.wait == 0 {
			return s, err
		}
		select {
		case <-end.C:
			return s, nil
		case <-ctx.Done():
			return s, nil
		case <-next.C:
		}
	}
}

// ask asks the daemon, or goes by what is in files if none runs. The error is that it cannot
// be told how this host is.
func (a *asking) ask(ctx context.Context, peers int) (status.Status, error) {
	socket := a.places.StatusSocket
	s, err := status.Read(ctx, socket, peers)
	switch {
	case err == nil && s.Schema != status.Schema:
		return s, unclear{failure{fmt.Errorf("the daemon at %s speaks version %d of the status, and this program version %d", socket, s.Schema, status.Schema),
			"use the flannelctl of the daemon's package"}}
	case err == nil:
		return s, nil
	case errors.Is(err, unix.EACCES):
		return s, unclear{failure{fmt.Errorf("ask the daemon: %w", err), "run it as root, or as a member of the socket's group (docs/status.md)"}}
	case errors.Is(err, unix.ECONNREFUSED): // it was killed
		return a.withoutDaemon("nobody answers on " + socket), nil
	case errors.Is(err, fs.ErrNotExist):
		if others, _ := host.Locked(); len(others) > 0 {
			return s, unclear{failure{fmt.Errorf("there is no %s, and a flanneld runs here for %s", socket, strings.Join(others, ", ")),
				"name its --subnet-file or --status-socket, and see that it does not run with --status-socket=off"}}
		}
		return a.withoutDaemon("there is no " + socket), nil
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return a.withoutDaemon("a process has " + socket + " and does not answer"), nil
	}
	return s, unclear{failure{fmt.Errorf("ask the daemon: %w", err), "name its --subnet-file or --status-socket"}}
}
