// Flannel-etcd is an etcd for hosts that have none: one member or three, with
// the v2 and the v3 API, as a process of its own that is there before flanneld
// and Docker are. It decides how etcd is set up and which data it may touch; it
// does not know what is kept in it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	etcd "go.etcd.io/etcd/api/v3/version"
)

// version is set when the program is linked.
var version = "dev"

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
	fmt.Fprintf(stderr, "error: %v\n", err)
	if usage.Hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", usage.Hint)
	}
	return exitUsage
}

// run is the whole program. It returns nil when ctx ends, a usageError, or an
// error that it has logged.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	o, warnings, err := parseOptions(args[1:], environ, localAddrs)
	switch {
	case err != nil:
		return err
	case o.Version:
		fmt.Fprintf(stdout, "flannel-etcd %s (etcd %s)\n", version, etcd.Version)
		return nil
	case o.Help:
		fmt.Fprint(stdout, usage(args[0]))
		return nil
	}
	log, etcdLog := newLoggers(stderr, o)
	log.Info(fmt.Sprintf("flannel-etcd %s (etcd %s)", version, etcd.Version))
	for _, w := range append(warnings, exposed(o)...) {
		log.Warn(w)
	}
	if err = serve(ctx, o, log, etcdLog); err == nil {
		log.Info("Exiting cleanly...")
		return nil
	}
	log.Error(err.Error())
	return err
}
