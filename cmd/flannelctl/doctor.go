package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"flanneld/cmd/internal/doctor"
	"flanneld/cmd/internal/options"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/flagtable"
	"flanneld/subnet/etcdapi"
)

const doctorHelp = `Find what is wrong with this host and the way to the others. Each check prints
what it saw and the commands that mend it; those that fail come first.
docs/doctor.md lists the checks. Name some to make only these.

It asks the daemon, the kernel, Docker's files and etcd, sends some packets to
the other hosts through the overlay, and changes nothing. With --fix it applies
the remedies that are safe. Run it as root; else it skips what it cannot read.
It also works without a daemon. Then give the daemon's flags for etcd, unless
they are in the environment or in /etc/default/flanneld.

The exit status is 0 if nothing fails, 1 if something does, and 2 if the command
line is wrong or the daemon cannot be asked.`

// doctoring is one call of the command.
type doctoring struct {
	*asking
	fix   bool
	flags *pflag.FlagSet
}

func doctorCommand(c *call) *cobra.Command {
	d := &doctoring{asking: &asking{call: c}}
	var names []string
	for _, check := range doctor.Checks() {
		names = append(names, check.Name)
	}
	cmd := &cobra.Command{
		Use:   "doctor [--fix] [CHECK...]",
		Short: "Find what is wrong, and say what mends it",
		Long:  doctorHelp,
		Example: `  flannelctl doctor
  flannelctl doctor --fix forwarding
  flannelctl doctor -o json | jq -r '.checks[] | select(.state == "fail") | .remedy[]'`,
		ValidArgs: names,
		RunE:      func(cmd *cobra.Command, args []string) error { return d.run(cmd.Context(), args) },
	}
	d.flags = cmd.Flags()
	d.flags.BoolVar(&d.fix, "fix", false, "apply the remedies that are safe")
	places := d.asksDaemon(cmd).PreRunE
	etcd := c.usesEtcd(cmd).PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if err := chosen(names, args); err != nil {
			return err
		}
		if err := places(cmd, args); err != nil {
			return err
		}
		return etcd(cmd, args)
	}
	return cmd
}

// chosen looks at the names of checks that were given.
func chosen(names, args []string) error {
	for _, a := range args {
		if !slices.Contains(names, a) {
			return flagtable.Invalid(a, "CHECK", "flannelctl doctor without a name makes all checks; docs/doctor.md lists them")
		}
	}
	return nil
}

func (d *doctoring) run(ctx context.Context, names []string) error {
	h, closed, err := d.host(ctx)
	if err != nil {
		return err
	}
	defer closed()
	r, err := d.checks(ctx, h, names)
	if err != nil {
		return err
	}
	if d.output == "json" {
		err = d.printJSON(r)
	} else {
		_, err = d.stdout.Write(r.text(coloured(d.stdout, d.env)))
	}
	switch {
	case err != nil:
		return failure{err, ""}
	case r.Summary.Fail > 0:
		return errNotWell
	}
	return nil
}

// checks makes them, and shows on a terminal which one goes on.
func (d *doctoring) checks(ctx context.Context, h *doctor.Host, names []string) (report, error) {
	r := report{Schema: reportSchema, Time: h.Status.Time, Checks: []reported{}}
	show, end := onTerminal(d.stderr)
	defer end()
	for i, c := range doctor.Checks() {
		if len(names) > 0 && !slices.Contains(names, c.Name) {
			continue
		}
		if ctx.Err() != nil {
			return r, failure{ctx.Err(), ""}
		}
		show(fmt.Sprintf("check %d of %d: %s", i+1, len(doctor.Checks()), c.Name))
		r.add(i+1, c, d.made(ctx, c, h))
	}
	return r, nil
}

// made makes a check, mends what it may, and looks again.
func (d *doctoring) made(ctx context.Context, c doctor.Check, h *doctor.Host) made {
	found := c.Run(ctx, h)
	m := made{Result: found}
	if !d.fix || found.Fix == nil {
		return m
	}
	if err := found.Fix(); err != nil {
		m.More = append(m.More, "--fix: "+err.Error())
		return m
	}
	if m.Result = c.Run(ctx, h); m.State == doctor.Pass {
		m.fixed = true
		m.More = append(m.More, "before --fix: "+found.Saw)
	}
	return m
}

// made is what came of a check.
type made struct {
	doctor.Result
	fixed bool
}

// host finds out what is asked of the daemon, and opens its etcd.
func (d *doctoring) host(ctx context.Context) (h *doctor.Host, closed func(), err error) {
	s, err := d.ask(ctx, status.MostPeers)
	if err != nil {
		return nil, nil, err
	}
	h = &doctor.Host{Status: s, New: outline}
	if h.Options, h.Hidden, err = d.daemonOptions(s); err != nil {
		return nil, nil, err
	}
	closed = func() {}
	choice, err := openChoice(ctx, h.Options.Etcd, etcdapi.API(s.Etcd.API), d.quiet())
	if h.StoreErr = err; err == nil {
		h.Store, closed = choice, choice.Close
	}
	return h, closed, nil
}

// daemonOptions returns what the daemon was started with, and what this program was given
// instead: of a daemon that runs its own arguments and environment; else the files of the
// package's unit and this program's environment.
func (d *doctoring) daemonOptions(s status.Status) (o options.Daemon, hidden string, err error) {
	args, environ, hidden := doctor.StartedWith(s, d.env)
	both := slices.Concat(options.EtcdFlags(new(options.Etcd)).Flags, options.PlaceFlags(new(options.Daemon)).Flags)
	for _, f := range both {
		if given := d.flags.Lookup(f.Name); given.Changed {
			args = append(args, "--"+f.Name+"="+given.Value.String())
		}
	}
	o, _, err = options.Parse(args, environ)
	return o, hidden, err
}

// quiet is a log for what a check says itself.
func (d *doctoring) quiet() *slog.Logger {
	if d.verbose {
		return d.log()
	}
	return slog.New(slog.DiscardHandler)
}
