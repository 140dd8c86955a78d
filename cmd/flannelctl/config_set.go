package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"flanneld/pkg/flagtable"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

const configSetHelp = `Write the network's configuration into etcd, or change it.

The flags that name a field change that, and an empty value takes it away, so that
its default counts. All else in the document stays as it is, also what nobody
reads. With another --backend-type the options of the former one go. With --file
the whole document is that of FILE. Without a configuration in etcd one is made, in
the v3 API unless etcd has none or --etcd-api says another.

With --dry-run nothing is written: it prints what would change in the document, and
on which hosts. Hosts go on with what they run with until flanneld is restarted on
each.

It refuses a document that no host can use. It refuses what would split a cluster
of two hosts or more, unless --force is given: another backend, VNI or port; a
network that leaves a host's subnet out; what older releases that are there read in
another way. The document is written only if the one in etcd is as it was when the
command began.

The exit status is 0 if the document is in etcd as it was asked for, or with
--dry-run would be, and 1 if it was refused, or somebody else has changed it
meanwhile.`

// configSetting is a field that a flag sets.
type configSetting struct {
	flag, name string
	backend    bool // it is one of Backend's
	kind       byte // of JSON: s, n or b
	arg, help  string
}

func configSettings() []configSetting {
	return []configSetting{
		{"network", "Network", false, 's', "CIDR", "the IPv4 network of all containers"},
		{"subnet-len", "SubnetLen", false, 'n', "BITS", "prefix length of each host's subnet"},
		{"subnet-min", "SubnetMin", false, 's', "IP", "the first subnet that may be leased"},
		{"subnet-max", "SubnetMax", false, 's', "IP", "the last subnet that may be leased"},
		{"enable-ipv6", "EnableIPv6", false, 'b', "", "give each host an IPv6 subnet as well"},
		{"ipv6-network", "IPv6Network", false, 's', "CIDR", "the IPv6 network of all containers"},
		{"ipv6-subnet-len", "IPv6SubnetLen", false, 'n', "BITS", "prefix length of each host's IPv6 subnet"},
		{"ipv6-subnet-min", "IPv6SubnetMin", false, 's', "IP", "the first IPv6 subnet that may be leased"},
		{"ipv6-subnet-max", "IPv6SubnetMax", false, 's', "IP", "the last IPv6 subnet that may be leased"},
		{"enable-nftables", "EnableNFTables", false, 'b', "", "make rules with nftables, not iptables"},
		{"backend-type", "Type", true, 's', "TYPE", "how packets travel: udp, vxlan, host-gw or alloc"},
		{"port", "Port", true, 'n', "PORT", "UDP port of every host, of udp and vxlan"},
		{"vni", "VNI", true, 'n', "NUMBER", "VXLAN network identifier"},
		{"direct-routing", "DirectRouting", true, 'b', "", "vxlan: plain routes to hosts on the same layer 2 network"},
		{"gbp", "GBP", true, 'b', "", "vxlan: the group policy extension"},
		{"learning", "Learning", true, 'b', "", "vxlan: learn forwarding entries from received frames"},
		{"mtu", "MTU", true, 'n', "BYTES", "vxlan: MTU of the network below"},
	}
}

// member is what a value of the flag writes into the document.
func (s configSetting) member(value string) (config.Member, error) {
	m := config.Member{Backend: s.backend, Name: s.name}
	switch {
	case value == "":
		return m, nil
	case s.kind == 's':
		m.Value, _ = json.Marshal(value) // a string
	case s.kind == 'b' && value != "true" && value != "false":
		return m, flagtable.Invalid(value, "--"+s.flag, "write --"+s.flag+" or --"+s.flag+"=false")
	case s.kind == 'b':
		m.Value = json.RawMessage(value)
	default:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return m, flagtable.Invalid(value, "--"+s.flag, "write a whole number")
		}
		m.Value = json.RawMessage(strconv.FormatInt(n, 10))
	}
	return m, nil
}

// configSet is one call of the command.
type configSet struct {
	*call
	file   string
	dryRun bool
	force  bool
	values map[string]*string // of the flags that name a field
}

func configSetCommand(c *call) *cobra.Command {
	s := &configSet{call: c, values: make(map[string]*string)}
	cmd := &cobra.Command{
		Use:   "set [--FIELD=VALUE]... [--file=FILE] [--dry-run] [--force]",
		Short: "Write the configuration, or change it",
		Long:  configSetHelp,
		Example: `  flannelctl config set --network=10.100.0.0/16 --backend-type=vxlan
  flannelctl config set --subnet-max=10.100.127.0 --dry-run
  flannelctl config set --file=config.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd.Context(), cmd.Flags()) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	complete := func(flag string, values ...string) {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // there is such a flag
	}
	for _, f := range configSettings() {
		help := f.help
		if f.arg != "" {
			help = "`" + f.arg + "`: " + help
		}
		s.values[f.flag] = flags.String(f.flag, "", help)
		switch {
		case f.kind == 'b':
			flags.Lookup(f.flag).NoOptDefVal = "true"
			complete(f.flag, "true", "false")
		case f.flag == "backend-type":
			complete(f.flag, backendTypes()...)
		default:
			complete(f.flag)
		}
	}
	flags.StringVar(&s.file, "file", "", "`FILE` with the whole document; -: the standard input")
	flags.BoolVar(&s.dryRun, "dry-run", false, "only print what would change")
	flags.BoolVar(&s.force, "force", false, "write also what would split the cluster")
	return c.usesNetwork(cmd)
}

// members are what the flags write. A former backend's options go with it.
func (s *configSet) members(flags *pflag.FlagSet, was *facts) (all []config.Member, err error) {
	for _, f := range configSettings() {
		if !flags.Changed(f.flag) {
			continue
		}
		value := *s.values[f.flag]
		m, err := f.member(value)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
		if f.flag == "backend-type" && was != nil && !strings.EqualFold(value, was.Type) {
			for name := range was.options {
				all = append(all, config.Member{Backend: true, Name: name})
			}
		}
	}
	if was != nil && was.Backend == nil && !flags.Changed("backend-type") && slices.ContainsFunc(all, func(m config.Member) bool { return m.Backend && m.Value != nil }) {
		all = append([]config.Member{{Backend: true, Name: "Type", Value: json.RawMessage(strconv.Quote(was.Type))}}, all...)
	}
	switch {
	case s.file != "" && len(all) > 0:
		return nil, usage("--file has the whole document, and other flags change it", "give --file alone, or the others alone")
	case s.file == "" && len(all) == 0:
		return nil, usage("nothing is to be set", "give flags such as --network=10.100.0.0/16 or --file=FILE; --help lists them")
	}
	return all, nil
}

func (s *configSet) run(ctx context.Context, flags *pflag.FlagSet) error {
	if _, err := s.members(flags, nil); err != nil { // before etcd is asked
		return err
	}
	n, err := s.openToWrite(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	raw, err := s.document(flags, n)
	if err != nil {
		return err
	}
	done, err := s.judge(ctx, n, raw)
	if err != nil {
		return err
	}
	write := !s.dryRun && (s.force || len(done.Refused) == 0) && !bytes.Equal(raw, n.doc.Raw)
	if write {
		if err := writeConfig(ctx, n, raw); err != nil {
			return err
		}
	}
	done.Changed = write
	return s.print(done)
}

// document is the new one. The present one was read before a file is, so that nobody's
// change is written over that came while the file was made.
func (s *configSet) document(flags *pflag.FlagSet, n *network) ([]byte, error) {
	if s.file != "" {
		return readDocument(s.call, s.file)
	}
	was := factsOf(n.doc.Raw)
	if n.missing == nil && was == nil {
		r := reportOf(n.doc.Raw)
		fmt.Fprintf(s.stderr, "%s is now:\n%s\n", n.configKey(), strings.TrimRight(shown(r.Document), "\n"))
		return nil, failure{fmt.Errorf("the document there cannot be changed, since no host can use it: %w", r.Error.failure(n.configKey())),
			"write a whole one: --file=FILE"}
	}
	members, err := s.members(flags, was)
	if err != nil {
		return nil, err
	}
	raw, err := config.Edit(n.doc.Raw, members...)
	return raw, failed(err)
}

// judge says what writing the document means.
func (s *configSet) judge(ctx context.Context, n *network, raw []byte) (configChange, error) {
	done := configChange{Schema: configSchema, API: n.api, Key: n.configKey(), Revision: uint64(n.doc.Rev), DryRun: s.dryRun, Forced: s.force, Document: string(raw)}
	if n.missing == nil {
		done.Before = new(string(n.doc.Raw))
	}
	r := reportOf(raw)
	if err := r.failure("the new document"); err != nil {
		return done, err
	}
	done.Warnings, done.Config = r.Warnings, r.Config
	leases, err := n.leases(ctx)
	if err != nil {
		return done, err
	}
	was := factsOf(n.doc.Raw)
	if n.missing == nil && was == nil {
		done.Notes = append(done.Notes, "no host can use the document that is there; it is replaced as a whole")
	}
	done.add(judge(n.api, was, factsOf(raw), leases))
	return done, nil
}

// writeConfig writes the document if the one in etcd is still as it was read.
func writeConfig(ctx context.Context, n *network, raw []byte) error {
	err := n.WriteConfig(ctx, n.doc, raw)
	if err == nil {
		return nil
	}
	// The answer to our own write may have been lost, and the write tried a second time.
	if now, e := n.Config(ctx); e == nil && now.Rev > n.doc.Rev && bytes.Equal(now.Raw, raw) {
		return nil
	}
	if errors.Is(err, subnet.ErrLost) {
		return failure{fmt.Errorf("somebody else has changed %s meanwhile, and it was not touched", n.configKey()), "see flannelctl config show, and try again"}
	}
	return failure{fmt.Errorf("write %s: %w", n.configKey(), err), "flannelctl config show says whether it was written"}
}
