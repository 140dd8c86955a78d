package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"flanneld/cmd/internal/status"
	"flanneld/pkg/backoff"
	"flanneld/subnet"
)

const watchHelp = `Print events on this host as they happen, one line each: peers that come and go,
new states of the lease, of etcd, the datapath, the firewall and Docker's bridge,
and changes by others that the daemon has undone. It begins with the last ten
events. When the daemon ends it waits for the next one.

With -o json each line is an object that docs/status.md describes.`

// shownFirst is how many events that are over are shown.
const shownFirst = 10

func watchCommand(c *call) *cobra.Command {
	w := &watching{asking: &asking{call: c}}
	return w.asksDaemon(&cobra.Command{
		Use:   "watch",
		Short: "Show what happens as it happens",
		Long:  watchHelp,
		Example: `  flannelctl watch
  flannelctl watch -o json | jq --unbuffered -r 'select(.part == "peers") | .subnet'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return w.run(cmd.Context()) },
	})
}

// watching is one call of the command.
type watching struct {
	*asking
	begun   bool
	started time.Time // the daemon that is followed; zero: none
	last    uint64    // its event that was printed last
}

func (w *watching) run(ctx context.Context) error {
	for ctx.Err() == nil {
		s, err := w.ask(ctx, 0)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !w.begun:
			return err
		case err != nil:
			s.NotReady = []string{"daemon: " + err.Error()}
			err = w.lost(s)
		case s.PID == 0:
			err = w.lost(s)
		default:
			err = w.follow(ctx, s)
		}
		if err != nil {
			return failure{err, ""}
		}
		w.begun = true
		_ = backoff.Sleep(ctx, pollTime) // its error is that of ctx, which is looked at
	}
	return nil
}

// lost says that nobody answers, once.
func (w *watching) lost(s status.Status) error {
	if w.begun && w.started.IsZero() {
		return nil
	}
	w.started = time.Time{}
	why := strings.TrimPrefix(s.NotReady[0], "daemon: ")
	return w.print(status.Event{Time: time.Now(), Level: "warning", Part: "daemon", Text: "does not answer: " + why, Count: 1})
}

// follow prints the daemon's events until it goes.
func (w *watching) follow(ctx context.Context, s status.Status) error {
	if !s.Started.Equal(w.started) {
		w.started, w.last = s.Started, 0
		if w.begun {
			text := fmt.Sprintf("answers: %s, process %d, started at %s", s.Version, s.PID, s.Started.UTC().Format(time.DateTime+" MST"))
			if err := w.print(status.Event{Time: s.Time, Level: "info", Part: "daemon", Text: text, Count: 1}); err != nil {
				return err
			}
		} else if n := len(s.Events) - shownFirst; n > 0 {
			w.last = s.Events[n-1].Seq
		}
	}
	w.begun = true
	for e, err := range status.Follow(ctx, w.places.StatusSocket, w.last) {
		if errors.Is(err, status.ErrRefused) {
			return err
		}
		if err != nil {
			return nil // why, the next question tells
		}
		if missed := int64(e.Seq-w.last) - int64(e.Count); w.last > 0 && missed > 0 {
			if err := w.print(status.Event{Time: e.Time, Level: "warning", Part: "watch", Text: fmt.Sprintf("%d events were too many to follow", missed), Count: 1}); err != nil {
				return err
			}
		}
		w.last = e.Seq
		if err := w.print(e); err != nil {
			return err
		}
	}
	return nil
}

// print prints an event; where colours are seen, one that is a warning in yellow, and that
// of a lease that is lost in red.
func (w *watching) print(e status.Event) error {
	if w.output == "json" {
		return json.NewEncoder(w.stdout).Encode(e)
	}
	line := fmt.Sprintf("%s  %-7s  %-12s  %s", e.Time.Local().Format(time.DateTime), e.Level, e.Part, plain(e.Text))
	if e.Count > 1 {
		line += fmt.Sprintf(" (%d times)", e.Count)
	}
	if code := colourOf(e); code != "" && coloured(w.stdout, w.env) {
		line = "\x1b[" + code + "m" + line + "\x1b[0m"
	}
	_, err := io.WriteString(w.stdout, line+"\n")
	return err
}

func colourOf(e status.Event) string {
	switch {
	case e.Part == "lease" && e.Level == "warning" && !strings.Contains(e.Text, subnet.AtRisk.String()):
		return "31"
	case e.Level != "info":
		return "33"
	}
	return ""
}
