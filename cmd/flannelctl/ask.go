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

	"flanneld/cmd/internal/doctor"
	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/options"
	"flanneld/cmd/internal/status"
)

// asking is one call of a command that asks a daemon.
type asking struct {
	*call
	places options.Daemon
	brief  bool
	watch  bool
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

// errOther is that a daemon runs, and perhaps not the one that is asked for. It says nothing itself.
var errOther = errors.New("")

// unitOptions returns what the package's unit would start a daemon with.
func (a *asking) unitOptions() (options.Daemon, error) {
	args, environ, _ := doctor.StartedWith(status.Status{}, a.env)
	o, _, err := options.Parse(args, environ)
	return o, err
}

// network returns the etcd prefix of the daemon that has its files there, as the package's unit
// would start it; empty: it is not known.
func (a *asking) network() string {
	o, err := a.unitOptions()
	if err != nil || o.SubnetFile != a.places.SubnetFile && o.StatusSocket != a.places.StatusSocket {
		return ""
	}
	return o.Etcd.Prefix
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
		none := "there is no " + socket
		others, _ := host.Locked()
		if len(others) == 0 {
			return a.withoutDaemon(none), nil
		}
		none += ", and a flanneld runs here for " + strings.Join(others, ", ")
		if prefix := a.network(); prefix != "" && !host.Locks(others, prefix) {
			return a.withoutDaemon(none), nil
		}
		return s, unclear{failure{fmt.Errorf("%w%s", errOther, none),
			"name its --subnet-file or --status-socket, and see that it does not run with --status-socket=off"}}
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return a.withoutDaemon("a process has " + socket + " and does not answer"), nil
	}
	return s, unclear{failure{fmt.Errorf("ask the daemon: %w", err), "name its --subnet-file or --status-socket"}}
}
