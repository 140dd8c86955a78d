package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"flanneld/cmd/internal/options"
	"flanneld/pkg/flagtable"
	"flanneld/subnet/config"
	"flanneld/subnet/mirror"
)

const migrateHelp = `Copy a network's configuration and leases from one of etcd's APIs to the other.

Without --yes it prints what it would write. With --yes it copies once. With
--mirror it then keeps both sides in step, in both directions, until SIGINT or
SIGTERM ends it. So hosts can move one by one: restart each with --etcd-api=v3.

It refuses to begin if the other side has another configuration, and, without
--mirror, if another host has one of the subnets there. It deletes only copies
that it made.`

// migration is one call of the command.
type migration struct {
	*call
	from, to    string
	toEndpoints string
	yes, mirror bool
}

func migrateCommand(c *call) *cobra.Command {
	m := &migration{call: c}
	cmd := &cobra.Command{
		Use:   "migrate --from v2 --to v3 [--yes] [--mirror]",
		Short: "Copy configuration and leases from one of etcd's APIs to the other",
		Long:  migrateHelp,
		Example: `  flannelctl migrate --from v2 --to v3                  # what would be copied
  flannelctl migrate --from v2 --to v3 --yes --mirror   # while hosts move`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return m.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&m.from, "from", "", "the `API` that has the configuration: v2 or v3")
	flags.StringVar(&m.to, "to", "", "the other `API`")
	flags.StringVar(&m.toEndpoints, "to-etcd-endpoints", "", "etcd client `URLS` for the other API, if it is in another etcd")
	flags.BoolVar(&m.yes, "yes", false, "write; without it, print what would be written")
	flags.BoolVar(&m.mirror, "mirror", false, "go on, and keep both in step, until the program is ended")
	apis := cobra.FixedCompletions([]string{options.APIv2, options.APIv3}, cobra.ShellCompDirectiveNoFileComp)
	for _, name := range []string{"from", "to"} {
		_ = cmd.RegisterFlagCompletionFunc(name, apis) // there is such a flag
	}
	return c.usesEtcd(cmd)
}

// check looks at the flags.
func (m *migration) check() error {
	const hint = "write --from v2 --to v3, or --from v3 --to v2"
	apis := []string{options.APIv2, options.APIv3}
	switch {
	case m.from == "" || m.to == "":
		return options.UsageError{Msg: "--from or --to is missing", Hint: hint}
	case !slices.Contains(apis, m.from):
		return flagtable.Invalid(m.from, "--from", hint)
	case !slices.Contains(apis, m.to):
		return flagtable.Invalid(m.to, "--to", hint)
	case m.from == m.to:
		return options.UsageError{Msg: "--from and --to are the same", Hint: hint}
	}
	return nil
}

func (m *migration) run(ctx context.Context) error {
	if err := m.check(); err != nil {
		return err
	}
	log := m.log()
	here, err := endpoints(ctx, m.etcd, log)
	if err != nil {
		return failure{err, ""}
	}
	there := here
	if m.toEndpoints != "" {
		if there, err = options.Endpoints(m.toEndpoints, "--to-etcd-endpoints"); err != nil {
			return err
		}
	}
	from, closeFrom, err := open(m.from, m.etcd, here, log)
	if err != nil {
		return failure{err, ""}
	}
	defer closeFrom()
	to, closeTo, err := open(m.to, m.etcd, there, log)
	if err != nil {
		return failure{err, ""}
	}
	defer closeTo()
	if m.yes && m.mirror {
		return m.keepInStep(ctx, from, to)
	}
	return m.once(ctx, from, to)
}

// once says what is to be copied, and copies it if it is asked to.
func (m *migration) once(ctx context.Context, from, to mirror.Side) error {
	p, err := mirror.Survey(ctx, from, to, m.mirror)
	if err != nil {
		return m.explain(err)
	}
	conflicts := p.Conflicts()
	written := 0
	if m.yes && len(conflicts) == 0 {
		written, err = p.Carry(ctx)
		conflicts = p.Conflicts()
	}
	if printed := m.printPlan(p, written, err == nil); err == nil {
		err = printed
	}
	switch {
	case err != nil:
		return failure{err, "run it again when the reason is gone: it goes on where it ended"}
	case len(conflicts) > 0 && written > 0:
		return failure{fmt.Errorf("%s, and %s copied", count(len(conflicts), "conflict"), count(written, "lease was", "leases were")),
			"settle the conflicts, and run it again"}
	case len(conflicts) > 0 && !m.mirror:
		return failure{fmt.Errorf("%s: nothing is copied until they are settled", count(len(conflicts), "conflict")), "each has its hint above"}
	}
	return nil
}

// keepInStep mirrors until ctx is done, and says what stands where.
func (m *migration) keepInStep(ctx context.Context, from, to mirror.Side) error {
	log := m.log()
	log.Info(fmt.Sprintf("Keeping the leases of %s in step on %s and %s; end it with SIGINT or SIGTERM", m.etcd.Prefix, from.Name, to.Name))
	mir := mirror.New(mirror.Options{From: from, To: to, Log: log})
	if err := mir.Run(ctx); err != nil {
		return m.explain(err)
	}
	if err := m.printReport(mir.Report()); err != nil {
		return failure{err, ""}
	}
	return nil
}

// explain adds what to do to an error of the mirror's.
func (m *migration) explain(err error) error {
	switch {
	case errors.Is(err, config.ErrNone):
		return failure{err, fmt.Sprintf("check --etcd-prefix (it is %s) and --from: the configuration is copied from there", m.etcd.Prefix)}
	case errors.Is(err, mirror.ErrConfig):
		return failure{err, fmt.Sprintf("write one document to both, under %s/config; or delete that of %s if no host uses it", m.etcd.Prefix, m.to)}
	}
	return failure{err, ""}
}

// count is a number with its noun: "1 host", "2 hosts". The plural may be given.
func count(n int, noun string, plural ...string) string {
	if n != 1 {
		if noun += "s"; len(plural) > 0 {
			noun = strings.Join(plural, "")
		}
	}
	return fmt.Sprintf("%d %s", n, noun)
}
