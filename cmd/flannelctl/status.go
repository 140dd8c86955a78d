package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

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

func statusCommand(c *call) *cobra.Command {
	a := &asking{call: c}
	cmd := &cobra.Command{
		Use:   "status [--brief] [--wait=DURATION]",
		Short: "Show how this host is",
		Long:  statusHelp,
		Example: `  flannelctl status
  flannelctl status --brief --wait=60s   # in a script, before containers start`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return showStatus(cmd.Context(), a) },
	}
	cmd.Flags().BoolVar(&a.brief, "brief", false, "print one line")
	cmd.Flags().DurationVar(&a.wait, "wait", 0, "wait until the host is ready, for a `DURATION` such as 60s at most")
	cmd.Flags().Lookup("wait").DefValue = "" // help does not say that without it there is none
	return a.asksDaemon(cmd)
}

func showStatus(ctx context.Context, a *asking) error {
	if a.wait < 0 {
		return options.UsageError{Msg: "--wait is negative", Hint: "give a duration such as 60s"}
	}
	peers := 0
	if a.output == "json" {
		peers = status.MostPeers
	}
	s, err := awaitReady(ctx, a, peers)
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
func awaitReady(ctx context.Context, a *asking, peers int) (status.Status, error) {
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
