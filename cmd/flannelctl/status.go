package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"flanneld/cmd/internal/options"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/backoff"
)

const statusHelp = `Print how this host is, as its daemon knows it: the lease, the way packets go,
etcd, and what is wrong. It asks neither the kernel nor etcd, and changes nothing.

If no daemon runs, it prints what the last one left in files: the subnet file
and, for root, the state directory.

The exit status is 0 if the host is ready, 1 if it is not or there is trouble,
and 2 if nobody can say. With --wait it is 0 as soon as the host is ready. With
--watch it refreshes the screen until it is interrupted. With -o json it prints
what docs/status.md describes.`

func statusCommand(c *call) *cobra.Command {
	a := &asking{call: c}
	cmd := &cobra.Command{
		Use:   "status [--brief] [--wait=DURATION | --watch]",
		Short: "Show how this host is",
		Long:  statusHelp,
		Example: `  flannelctl status
  flannelctl status --brief --wait=60s   # in a script, before containers start`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return showStatus(cmd.Context(), a) },
	}
	cmd.Flags().BoolVar(&a.brief, "brief", false, "print one line")
	cmd.Flags().DurationVar(&a.wait, "wait", 0, "wait until the host is ready, at most for this `DURATION`, such as 60s")
	cmd.Flags().BoolVar(&a.watch, "watch", false, "refresh the screen every second; with --brief, print a line when it changes")
	cmd.MarkFlagsMutuallyExclusive("wait", "watch")
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
	if a.watch {
		return watchStatus(ctx, a, peers)
	}
	s, err := awaitReady(ctx, a, peers)
	if err != nil {
		return err
	}
	err = show(a, a.stdout, s)
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

// show prints a status as it was asked for.
func show(a *asking, w io.Writer, s status.Status) (err error) {
	switch {
	case a.output == "json":
		return writeJSON(w, s)
	case a.brief:
		_, err = fmt.Fprintln(w, verdict(s))
		return err
	}
	return printStatus(w, s)
}

// watchTime is the time between two screens.
const watchTime = time.Second

// watchStatus prints the status until ctx ends: on a terminal in place of the one before.
func watchStatus(ctx context.Context, a *asking, peers int) error {
	last, terminal := "", isTerminal(a.stdout) && !a.brief && a.output != "json"
	for {
		s, err := a.ask(ctx, peers)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		text := new(bytes.Buffer)
		_ = show(a, text, s) // to memory
		switch now := text.String(); {
		case terminal: // each line ends where the last screen's may go on, and so does the whole
			now = "\x1b[H" + strings.ReplaceAll(now, "\n", "\x1b[K\n") + "\x1b[J"
			_, err = io.WriteString(a.stdout, now)
		case !a.brief && last != "":
			_, err = io.WriteString(a.stdout, "\n"+now)
		case now != last:
			_, err = io.WriteString(a.stdout, now)
		}
		if err != nil {
			return failure{err, ""}
		}
		last = text.String()
		_ = backoff.Sleep(ctx, watchTime) // its error is that of ctx, which is looked at
	}
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
		starts := err == nil || errors.Is(err, errOther) // another's may be up before this one
		if !starts || s.Ready || a.wait == 0 {
			return s, err
		}
		select {
		case <-end.C:
			return s, err
		case <-ctx.Done():
			return s, err
		case <-next.C:
		}
	}
}
