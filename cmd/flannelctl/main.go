// Flannelctl is the operator's program: what is done with a cluster's leases by hand, and
// not by the daemon of a host. It decides how such a thing is asked for and how the answer
// is printed; what is done is in the packages that each command names.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"flanneld/cmd/internal/options"
	"flanneld/pkg/flagtable"
	"flanneld/pkg/glog"
)

// version is set when the program is linked.
var version = "dev"

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	// After the first signal the default comes back: a second one kills.
	context.AfterFunc(ctx, stop)
	os.Exit(program(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// program is main, and returns the exit status. An error is said in two voices: what
// happened, and what to do.
func program(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	c := &call{env: flagtable.ReadEnv(environ), stdout: stdout, stderr: stderr}
	root := c.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	what, hint, status := err.Error(), "", exitUsage
	if usage, ok := errors.AsType[options.UsageError](err); ok {
		hint = usage.Hint
	} else if failed, ok := errors.AsType[failure](err); ok {
		hint, status = failed.hint, exitFailed
	} else { // cobra's
		what, _, _ = strings.Cut(what, "\n")
		hint = "flannelctl --help lists the commands, and COMMAND --help its flags"
	}
	fmt.Fprintf(stderr, "error: %s\n", what)
	if hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
	return status
}

// failure is an error of a command that was called rightly.
type failure struct {
	err  error
	hint string // what to do; may be empty
}

func (f failure) Error() string { return f.err.Error() }
func (f failure) Unwrap() error { return f.err }

// call is one call of the program.
type call struct {
	env            flagtable.Env
	stdout, stderr io.Writer
	etcd           options.Etcd
	output         string // "text" or "json"
	verbose        bool
}

func (c *call) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "flannelctl",
		Short:         "Look after a flannel network's configuration and leases in etcd",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return flagtable.Explain(cmd.Flags(), err) })
	flags := root.PersistentFlags()
	flags.SortFlags = false
	options.EtcdFlags(&c.etcd).Add(flags)
	flags.StringVarP(&c.output, "output", "o", "text", "`FORM` of the result: text or json")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "log more")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)) // there is such a flag
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return c.complete(cmd) }
	root.AddCommand(migrateCommand(c))
	return root
}

func (c *call) log() *slog.Logger {
	level := slog.LevelInfo
	if c.verbose {
		level = slog.LevelDebug
	}
	return slog.New(glog.New(c.stderr, level))
}

func (c *call) printJSON(v any) error {
	e := json.NewEncoder(c.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// complete sets the flags that were not given, and looks at what they say together.
func (c *call) complete(cmd *cobra.Command) error {
	if c.output != "text" && c.output != "json" {
		return flagtable.Invalid(c.output, "--output", "give text or json")
	}
	given, err := options.EtcdFlags(&c.etcd).Complete(cmd.Flags(), c.env)
	if err != nil {
		return err
	}
	warnings, err := options.EtcdWarnings(&c.etcd, given, c.env)
	for _, w := range warnings {
		fmt.Fprintf(c.stderr, "warning: %s\n", w)
	}
	return err
}
