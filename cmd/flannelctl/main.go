// Flannelctl is the operator's program: what a person wants to know of a host's daemon, and
// what is done with a cluster's leases by hand. It decides how such a thing is asked for and
// how the answer is printed; what is done is in the packages that each command names.
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
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"flanneld/cmd/internal/options"
	"flanneld/pkg/build"
	"flanneld/pkg/flagtable"
	"flanneld/pkg/glog"
)

// Set when the program is linked.
var (
	version = "dev"
	commit  = "unknown"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1 // of a command that tells how something is: not well
	exitUsage  = 2 // or it cannot be told how something is
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
	if several, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // as it was joined
		status := exitDone
		for _, err := range several.Unwrap() {
			status = max(status, explain(stderr, err))
		}
		return status
	}
	return explain(stderr, err)
}

// explain says one error, and returns the exit status.
func explain(stderr io.Writer, err error) int {
	what, hint, status := err.Error(), "", exitUsage
	if errors.Is(err, errNotWell) {
		return exitFailed
	}
	if usage, ok := errors.AsType[options.UsageError](err); ok {
		hint = usage.Hint
	} else if failed, ok := errors.AsType[failure](err); ok {
		hint, status = failed.hint, exitFailed
	} else if unknown, ok := errors.AsType[unclear](err); ok {
		hint = unknown.hint
	} else { // cobra's
		var more string
		what, more, _ = strings.Cut(what, "\n")
		hint = "flannelctl --help lists the commands, and COMMAND --help its flags"
		if _, names, ok := strings.Cut(more, "Did you mean this?\n"); ok {
			hint = "did you mean flannelctl " + strings.Join(strings.Fields(names), " or ") + "?"
		}
	}
	if hint == "" {
		what, hint = withRemedy(what)
	}
	fmt.Fprintf(stderr, "error: %s\n", what)
	if hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
	return status
}

// remedy is what the daemon's packages end a message with, since a log has one line for all.
var remedy = regexp.MustCompile(`^(.*) \(((?:check|name|give|set|use|put|write|choose|if|etcd's|etcd does) [^()]*)\)$`)

// withRemedy splits a message at the remedy that it ends with, if it does.
func withRemedy(text string) (what, hint string) {
	if m := remedy.FindStringSubmatch(text); m != nil {
		return m[1], m[2]
	}
	return text, ""
}

// failure is an error of a command that was called rightly.
type failure struct {
	err  error
	hint string // what to do; may be empty
}

func (f failure) Error() string { return f.err.Error() }
func (f failure) Unwrap() error { return f.err }

// unclear is a failure to find out how something is.
type unclear struct{ failure }

// errNotWell is that what was printed is not as it should be: nothing is to be added.
var errNotWell = errors.New("not well")

// call is one call of the program.
type call struct {
	env            flagtable.Env
	stdout, stderr io.Writer
	stdin          io.Reader // nil: the process's
	etcd           options.Etcd
	output         string // "text" or "json"
	verbose        bool
}

func (c *call) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "flannelctl",
		Short:         "Show how a host's flanneld is, and look after a flannel network's leases in etcd",
		Version:       build.Text(version, commit),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("{{.Version}}")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return flagtable.Explain(cmd.Flags(), err) })
	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.StringVarP(&c.output, "output", "o", "text", "`FORM` of the result: text or json")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "log more")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)) // there is such a flag
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return c.checkOutput() }
	root.AddCommand(statusCommand(c), peersCommand(c), doctorCommand(c), watchCommand(c), leaseCommand(c), configCommand(c), cleanupCommand(c), debugCommand(c), versionCommand(c), migrateCommand(c))
	return root
}

func (c *call) log() *slog.Logger {
	level := slog.LevelInfo
	if c.verbose {
		level = slog.LevelDebug
	}
	return slog.New(glog.New(c.stderr, level))
}

// schema is the version of what the commands print as JSON that have none of their own, as of
// doctor, config and lease. docs/flannelctl.md describes it: fields are added, and none is
// renamed, removed or given another meaning under the same number.
const schema = 1

// printJSON prints a value that has its schema.
func (c *call) printJSON(v any) error { return writeJSON(c.stdout, v) }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (c *call) checkOutput() error {
	if c.output != "text" && c.output != "json" {
		return flagtable.Invalid(c.output, "--output", "give text or json")
	}
	return nil
}

// usesEtcd gives a command the flags that say how to reach etcd.
func (c *call) usesEtcd(cmd *cobra.Command) *cobra.Command {
	return c.takes(cmd, options.EtcdFlags(&c.etcd))
}

// usesNetwork gives a command those, and the flag that says in which API the network lies.
func (c *call) usesNetwork(cmd *cobra.Command) *cobra.Command {
	c.takes(cmd, options.NetworkFlags(&c.etcd))
	apis := cobra.FixedCompletions([]string{options.APIAuto, options.APIv2, options.APIv3}, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("etcd-api", apis) // there is such a flag
	return cmd
}

func (c *call) takes(cmd *cobra.Command, table flagtable.Table) *cobra.Command {
	flags := cmd.Flags()
	flags.SortFlags = false
	table.Add(flags)
	cmd.PreRunE = func(*cobra.Command, []string) error { return c.completeEtcd(flags, table) }
	return cmd
}

// completeEtcd sets the flags that were not given, and looks at what they say together.
func (c *call) completeEtcd(flags *pflag.FlagSet, table flagtable.Table) error {
	given, err := table.Complete(flags, c.env)
	if err != nil {
		return err
	}
	warnings, err := options.EtcdWarnings(&c.etcd, given, c.env)
	for _, w := range warnings {
		fmt.Fprintf(c.stderr, "warning: %s\n", w)
	}
	return err
}
