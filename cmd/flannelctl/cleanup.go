package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"flanneld/cmd/internal/cleanup"
	"flanneld/cmd/internal/doctor"
	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/datapath/kernel"
	"flanneld/pkg/netif"
)

const cleanupHelp = `Remove everything that daemons of any --etcd-prefix left on this host, and print
the commands that would do the same: devices with all that hangs on them, routes,
filters, firewall rules, the subnet file and the options that Docker got from it.
Containers lose those on other hosts at once. It needs root, but no etcd, and
refuses while a daemon runs.

It also prints what stays: the state directory, by which this host gets its subnet
again (--purge removes it), the lease in etcd, and the bridge of a running Docker.
With --rules it removes only the firewall rules: connections go on, and another
release may take over the rest.

The exit status is 0 if nothing is left, and 1 if something cannot be removed.`

// dockerOptions is where mk-docker-opts.sh writes unless it is told otherwise.
const dockerOptions = "/run/docker_opts.env"

// cleaning is one call of the command.
type cleaning struct {
	*asking
	dry, purge, rules bool
}

func cleanupCommand(c *call) *cobra.Command {
	a := &cleaning{asking: &asking{call: c}}
	cmd := &cobra.Command{
		Use:   "cleanup [--dry-run]",
		Short: "Remove what a stopped daemon left on this host",
		Long:  cleanupHelp,
		Example: `  systemctl disable --now flanneld
  flannelctl cleanup --dry-run
  flannelctl cleanup`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&a.dry, "dry-run", false, "only print what would be removed")
	flags.BoolVar(&a.rules, "rules", false, "remove only the firewall rules")
	flags.BoolVar(&a.purge, "purge", false, "also remove the state directory: this host forgets which subnet it had")
	cmd.MarkFlagsMutuallyExclusive("rules", "purge")
	return a.asksDaemon(cmd)
}

// cleaned is the JSON form.
type cleaned struct {
	Schema int  `json:"schema"`
	DryRun bool `json:"dryRun"`
	cleanup.Report
}

func (a *cleaning) run(ctx context.Context) error {
	if err := a.mayClean(); err != nil {
		return err
	}
	known := a.withoutDaemon("it is stopped")
	var report cleanup.Report
	var err error
	if a.rules {
		report, err = cleanup.Rules(ctx, a.dry)
	} else {
		o := cleanup.Options{Prefix: known.Prefix, Networks: []netip.Prefix{known.Network.Network, known.Network.NetworkV6},
			SubnetFile: a.places.SubnetFile, Socket: a.places.StatusSocket, DockerOptions: dockerOptions, Kernel: kernel.Kernel{}, Dry: a.dry}
		if a.purge {
			o.StateDir = a.places.StateDir
		}
		report, err = cleanup.Run(ctx, o)
		report.Left = append(report.Left, a.stays(known)...)
	}
	printed := a.print(report)
	if err != nil {
		return failure{err, "mend that, and run it again: it goes on where it was"}
	}
	if printed != nil {
		return failure{printed, ""}
	}
	return nil
}

// mayClean returns why nothing is removed.
func (a *cleaning) mayClean() error {
	if err := netif.CheckPrivilege("flannelctl"); err != nil {
		return failure{err, "sudo flannelctl cleanup"}
	}
	const stop = "systemctl stop flanneld"
	if prefixes, _ := host.Locked(); len(prefixes) > 0 {
		return failure{fmt.Errorf("a flanneld runs on this host, for the network below %s, and would put everything back", strings.Join(prefixes, " and ")), stop}
	}
	if pids := doctor.Running("flanneld"); len(pids) > 0 { // an older release's
		return failure{fmt.Errorf("a flanneld runs on this host, as process %d, and would put everything back", pids[0]), stop}
	}
	return nil
}

// stays says what else a host has of its overlay.
func (a *cleaning) stays(known status.Status) (left []cleanup.Left) {
	if known.Etcd.API != "" && !a.purge { // there is a cache
		left = append(left, cleanup.Left{What: a.places.StateDir, Why: "by it this host gets its subnet again; --purge removes it"})
	}
	lease := known.Lease
	subnets := strings.TrimSpace(joined("", lease.Subnet, lease.SubnetV6))
	switch {
	case lease.Reserved:
		left = append(left, cleanup.Left{What: "the reservation of " + subnets, Why: "it is in etcd, and does not end"})
	case lease.Expires.After(known.Time):
		left = append(left, cleanup.Left{What: "the lease on " + subnets, Why: "it is in etcd, and ends at " + lease.Expires.UTC().Format(time.DateTime+" MST") +
			"; if this host is gone for good: flannelctl lease release " + lease.Subnet.String() + a.etcdArguments(known)})
	}
	addrs, _ := netif.Addrs(func(p netip.Prefix) bool { return lease.Subnet.IsValid() && lease.Subnet.Contains(p.Addr()) })
	for _, at := range addrs {
		if !slices.ContainsFunc(left, func(l cleanup.Left) bool { return l.What == at.Interface }) && at.Alias == "" {
			left = append(left, cleanup.Left{What: at.Interface, Why: "it has " + at.Prefix.String() + " until Docker starts without flannel's options"})
		}
	}
	return left
}

// etcdArguments are the flags that lead to the etcd of the daemon that was stopped.
func (a *cleaning) etcdArguments(known status.Status) string {
	o, err := a.unitOptions()
	if err != nil {
		return ""
	}
	o.Etcd.Prefix, o.Etcd.API = known.Prefix, known.Etcd.API
	return o.Etcd.Arguments()
}

func (a *cleaning) print(r cleanup.Report) error {
	if a.output == "json" {
		return a.printJSON(cleaned{schema, a.dry, r})
	}
	w := new(bytes.Buffer)
	for _, c := range r.Removed {
		fmt.Fprintln(w, plain(c.Command))
	}
	if len(r.Removed) == 0 {
		fmt.Fprintln(w, "there is nothing to remove")
	}
	for _, l := range r.Left {
		fmt.Fprintf(w, "stays: %s: %s\n", plain(l.What), plain(l.Why))
	}
	if a.dry && len(r.Removed) > 0 {
		fmt.Fprintln(w, "nothing was removed\nhint: run it again without --dry-run")
	}
	_, err := a.stdout.Write(w.Bytes())
	return err
}
