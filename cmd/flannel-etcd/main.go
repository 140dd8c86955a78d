// Flannel-etcd is an etcd for hosts that have none, a process that runs before flanneld
// and Docker do. It decides which defaults etcd has, which data it may touch and when it
// is ready; it does not know what is kept in it, and what clusters are made of.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	etcd "go.etcd.io/etcd/api/v3/version"
	"go.uber.org/zap/zapcore"
)

// Set when the program is linked.
var (
	version = "dev"
	commit  = "unknown"
)

// Exit statuses, those of flanneld.
const (
	exitStopped = 0 // asked to stop
	exitFailed  = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the default comes back: a second one kills.
	context.AfterFunc(ctx, stop)
	os.Exit(status(run(ctx, os.Args, os.Environ(), os.Stdout, os.Stderr), os.Stderr))
}

// status returns the exit status that an error stands for. A mistake on the
// command line is printed as a person wants to read it.
func status(err error, stderr io.Writer) int {
	if err == nil {
		return exitStopped
	}
	usage, ok := errors.AsType[usageError](err)
	if !ok {
		return exitFailed // run has logged it
	}
	fmt.Fprintf(stderr, "error: %v\nhint: %s\n", err, usage.Hint)
	return exitUsage
}

// run is the whole program. It returns nil when ctx ends, a usageError, or an
// error that it has logged.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	o, warnings, err := parseOptions(args[1:], environ, stderr)
	switch {
	case err != nil:
		return err
	case o.Version:
		fmt.Fprintf(stdout, "flannel-etcd %s (etcd %s)\ncommit %s, %s, %s/%s\n",
			version, etcd.Version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return nil
	case o.Help:
		fmt.Fprint(stdout, usage(args[0]))
		return nil
	}
	log := newLogger(stderr, zapcore.InfoLevel)
	log.Info(fmt.Sprintf("flannel-etcd %s (etcd %s)", version, etcd.Version))
	for _, w := range append(warnings, exposed(o.Config)...) {
		log.Warn(w)
	}
	if err = serve(ctx, o.Config, log); err == nil {
		log.Info("Exiting cleanly...")
		return nil
	}
	log.Error(err.Error())
	return err
}
