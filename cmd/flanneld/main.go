// Flanneld joins the containers of this host to an overlay network that spans
// many: it takes a subnet of it, forwards to everybody else's, and tells Docker
// which one it is.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"

	"flanneld/cmd/internal/options"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/build"
	"flanneld/pkg/glog"
	"flanneld/pkg/journald"
	"flanneld/pkg/logrepeat"
	"flanneld/pkg/systemd"
	"flanneld/subnet/tenant"
)

// Set when the program is linked.
var (
	version = "dev"
	commit  = "unknown"
)

// Exit statuses.
const (
	exitStopped = 0 // asked to stop
	exitFailed  = 1
	exitUsage   = 2
)

func main() { os.Exit(program(options.Tuning{})) }

// program is main, and returns the exit status.
func program(t options.Tuning) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	// After the first signal the default comes back: a second one kills.
	context.AfterFunc(ctx, stop)
	return exitStatus(run(ctx, os.Args, os.Environ(), os.Stderr, t), os.Stderr)
}

// exitStatus returns the exit status that an error stands for. A mistake on the
// command line is printed as a person wants to read it.
func exitStatus(err error, stderr io.Writer) int {
	if err == nil {
		return exitStopped
	}
	usage, ok := errors.AsType[options.UsageError](err)
	if !ok {
		return exitFailed // run has logged it
	}
	fmt.Fprintf(stderr, "error: %v\n", err)
	if usage.Hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", usage.Hint)
	}
	return exitUsage
}

// run is the whole program. It returns nil when ctx ends, an options.UsageError, or an
// error that it has logged or printed: whoever searches a journal finds it with its header.
func run(ctx context.Context, args, environ []string, stderr io.Writer, t options.Tuning) error {
	o, warnings, err := options.Parse(args[1:], environ)
	switch {
	case err != nil:
		return err
	case o.Version:
		fmt.Fprint(stderr, build.Text(version, commit))
		return nil
	case o.Help:
		fmt.Fprint(stderr, options.Usage(args[0]))
		return nil
	}
	o.Tuning = t
	log := slog.New(handler(o, stderr))
	log.Info("flanneld " + version)
	log.Info("CLI flags config: " + o.String())
	for _, w := range warnings {
		log.Warn(w)
	}
	log.Info("Installing signal handlers")
	err = serve(ctx, o, log)
	if err == nil || ctx.Err() != nil {
		log.Info("Exiting cleanly...")
		return nil
	}
	log.Error(err.Error())
	if errors.Is(err, tenant.ErrRevoked) {
		return nil
	}
	return err
}

// serve runs the daemon, and beside it what tells others how it is, until ctx is
// done or it fails.
func serve(ctx context.Context, o options.Daemon, log *slog.Logger) error {
	notify := &systemd.Notifier{Log: log}
	// From now on: until then the signal ends the process, as it does any.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, unix.SIGHUP)
	defer signal.Stop(reload)
	board := status.NewBoard(notify.Status)
	board.Describe(version, o.Etcd.Prefix)
	// Not for the notifier: the board calls it.
	log = slog.New(status.Record(log.Handler(), board))
	server, err := status.Listen(o.HealthzIP, o.HealthzPort, o.HealthzTold, board, log)
	if err != nil {
		board.Fail(err)
		notify.Stopping()
		return err
	}
	asked := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g sync.WaitGroup
	servers := []*status.Server{server, status.ListenSocket(o.StatusSocket, board, log)}
	for _, s := range servers {
		g.Go(func() { s.Run(ctx) })
	}
	g.Go(func() {
		<-ctx.Done()
		notify.Stopping() // at once, however long the rest takes
	})
	d := &daemon{opts: o, notify: notify, board: board, servers: servers, log: log}
	err = d.start(ctx, reload)
	if err != nil && asked.Err() == nil {
		board.Fail(err)
	}
	cancel()
	g.Wait()
	return err
}

func handler(o options.Daemon, w io.Writer) slog.Handler {
	level := slog.LevelInfo
	if o.Verbosity > 0 {
		level = slog.LevelDebug
	}
	format := func(w io.Writer) slog.Handler { return glog.New(w, level) }
	if o.LogFormat == "json" {
		format = func(w io.Writer) slog.Handler {
			return slog.NewJSONHandler(w, &slog.HandlerOptions{AddSource: true, Level: level, ReplaceAttr: glog.Clip})
		}
	}
	if w == os.Stderr && journald.Reads() {
		return logrepeat.New(journald.New(w, format, journalFields(), journal.Send))
	}
	return logrepeat.New(format(w))
}
