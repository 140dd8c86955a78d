package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"flanneld/subnet/config"
)

const configShowHelp = `Print the network's configuration as it lies in etcd, and what it means: every
default filled in. The exit status is 1 if there is none, or if no host can use it.`

const configCheckHelp = `Check a configuration: that of FILE, of the standard input if FILE is -, and
without FILE the one in etcd. All that is wrong is named, with line and column, and with
what to do. A file is checked without etcd.

The exit status is 0 if hosts can use it, also if there are warnings, and 1 if not.`

func configCommand(c *call) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show, check and write the network's configuration in etcd", RunE: groupOf("show, check or set")}
	show := &cobra.Command{
		Use:     "show",
		Short:   "Show the configuration, and what it means",
		Long:    configShowHelp,
		Example: "  flannelctl config show\n  flannelctl config show -o json | jq -r .config.backend.type",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return showConfig(cmd.Context(), c, false) },
	}
	check := &cobra.Command{
		Use:     "check [FILE]",
		Short:   "Check a configuration before hosts see it",
		Long:    configCheckHelp,
		Example: "  flannelctl config check config.json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return showConfig(cmd.Context(), c, true)
			}
			return checkFile(c, args[0])
		},
	}
	cmd.AddCommand(c.usesNetwork(show), c.usesNetwork(check), configSetCommand(c))
	return cmd
}

// configSchema is the version of what the commands print as JSON.
const configSchema = 1

// configReport is what config show and check print.
type configReport struct {
	Schema   int           `json:"schema"`
	API      string        `json:"api,omitempty"` // of etcd; absent: it is a file's
	Key      string        `json:"key,omitempty"`
	Revision uint64        `json:"revision,omitempty"`
	Document string        `json:"document"` // as it lies there
	Valid    bool          `json:"valid"`
	Error    *configError  `json:"error,omitempty"`  // that a daemon names
	Errors   []configError `json:"errors,omitempty"` // that and all others
	Warnings []string      `json:"warnings"`
	Config   *meaning      `json:"config,omitempty"` // absent: it is not valid
}

// configError is what is wrong, and where.
type configError struct {
	Line    int    `json:"line,omitempty"` // from 1; absent: the document as a whole
	Column  int    `json:"column,omitempty"`
	Key     string `json:"key,omitempty"` // "SubnetLen", "Backend.VNI"; absent: it is of none
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// meaning is a configuration with its defaults.
type meaning struct {
	IPv4     rangeMeant   `json:"ipv4"`
	IPv6     *rangeMeant  `json:"ipv6,omitempty"`
	Backend  backendMeant `json:"backend"`
	NFTables bool         `json:"enableNFTables"`
}

type rangeMeant struct {
	Network   netip.Prefix `json:"network"`
	SubnetLen int          `json:"subnetLen"`
	SubnetMin netip.Addr   `json:"subnetMin"`
	SubnetMax netip.Addr   `json:"subnetMax"`
	Subnets   int64        `json:"subnets"` // that can be leased
}

type backendMeant struct {
	Type    string            `json:"type"`
	Options map[string]string `json:"options"`
}

// examine parses a document as a host does, backend included. An error is a *config.Error
// with all that is wrong.
func examine(raw []byte) (cfg config.Config, warnings []string, err error) {
	var wrong config.Faults
	cfg, warnings, err = config.ParseAll(raw)
	wrong.Add(err)
	var unknown []string
	if cfg.Type != "" { // else nobody knows whose options they are
		_, unknown, err = backendOptions(cfg)
		wrong.Add(err)
	}
	for _, name := range unknown {
		warnings = append(warnings, fmt.Sprintf("Backend has no option %s of type %s; it is ignored", name, cfg.Type))
	}
	return cfg, warnings, wrong.Err()
}

func reportOf(raw []byte) configReport {
	r := configReport{Schema: configSchema, Document: string(raw), Warnings: []string{}}
	cfg, warnings, err := examine(raw)
	if first, ok := errors.AsType[*config.Error](err); ok {
		for _, e := range append([]*config.Error{first}, first.Also...) {
			r.Errors = append(r.Errors, configError{Line: e.Line, Column: e.Col, Key: e.Key, Message: e.Msg, Hint: e.Hint})
		}
		r.Error = &r.Errors[0]
		return r
	}
	r.Valid, r.Config = true, meaningOf(cfg)
	r.Warnings = append(r.Warnings, warnings...)
	return r
}

func meaningOf(cfg config.Config) *meaning {
	m := &meaning{IPv4: rangeOf(cfg.V4), NFTables: cfg.NFTables, Backend: backendMeant{cfg.Type, optionMap(cfg)}}
	if cfg.V6.Enabled() {
		v6 := rangeOf(cfg.V6)
		m.IPv6 = &v6
	}
	return m
}

// optionMap returns what the backend of a configuration that was examined goes by.
func optionMap(cfg config.Config) map[string]string {
	all := make(map[string]string)
	options, _, _ := backendOptions(cfg)
	for _, o := range options {
		all[o.name] = o.value
	}
	return all
}

func rangeOf(r config.Range) rangeMeant {
	return rangeMeant{r.Network, r.SubnetLen, r.Min, r.Max, r.Subnets()}
}

// failure is what is said of a document that no host can use. The place says where it lies.
func (e configError) failure(place string) error {
	what := fmt.Sprintf("%s: %s", place, e.Message)
	if e.Line > 0 {
		what = fmt.Sprintf("%s: line %d, column %d: %s", place, e.Line, e.Column, e.Message)
	}
	return failure{errors.New(what), e.Hint}
}

// failure is all that is wrong with the document; nil: nothing is.
func (r configReport) failure(place string) error {
	var all []error
	for _, e := range r.Errors {
		all = append(all, e.failure(place))
	}
	return errors.Join(all...)
}

// showConfig prints the one in etcd; brief: whether it can be used.
func showConfig(ctx context.Context, c *call, brief bool) error {
	n, err := c.openNetwork(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	if n.missing != nil {
		return failure{fmt.Errorf("etcd's %s API has no configuration at %s", n.api, n.configKey()), "check --etcd-prefix and --etcd-api; docs/configuration.md says how to write one"}
	}
	r := reportOf(n.doc.Raw)
	r.API, r.Key, r.Revision = n.api, n.configKey(), uint64(n.doc.Rev)
	return printConfig(c, r, r.Key, brief)
}

// checkFile checks a file's.
func checkFile(c *call, file string) error {
	raw, err := readDocument(c, file)
	if err != nil {
		return err
	}
	return printConfig(c, reportOf(raw), file, true)
}

// readDocument reads a file, or for - the standard input.
func readDocument(c *call, file string) (raw []byte, err error) {
	const most = 2 << 20 // a longer one is none
	if file == "-" {
		raw, err = io.ReadAll(io.LimitReader(cmp.Or[io.Reader](c.stdin, os.Stdin), most))
	} else {
		raw, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, failure{err, "name a file with one JSON object, or - for the standard input"}
	}
	return raw, nil
}

func printConfig(c *call, r configReport, place string, brief bool) error {
	var err error
	switch {
	case c.output == "json":
		err = c.printJSON(r)
	case !brief:
		_, err = c.stdout.Write(configText(r))
	case r.Valid:
		_, err = fmt.Fprintf(c.stdout, "%s can be used: %s\n", place, r.Config)
	}
	if err != nil {
		return failure{err, ""}
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(c.stderr, "warning: %s: %s\n", place, plain(w))
	}
	return r.failure(place)
}

func (m *meaning) String() string {
	s := fmt.Sprintf("%s, %s, %s of /%d", m.Backend.Type, m.IPv4.Network, count(int(m.IPv4.Subnets), "subnet"), m.IPv4.SubnetLen)
	if m.IPv6 != nil {
		s += fmt.Sprintf("; %s, /%d", m.IPv6.Network, m.IPv6.SubnetLen)
	}
	return s
}

// configText is the document, and what it means.
func configText(r configReport) []byte {
	w := new(bytes.Buffer)
	fmt.Fprintf(w, "%s, API %s, revision %d:\n\n%s\n", r.Key, r.API, r.Revision, strings.TrimRight(shown(r.Document), "\n"))
	if r.Config == nil {
		return w.Bytes()
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name string, value any) { fmt.Fprintf(table, "%s\t%v\n", name, value) }
	family := func(prefix string, r rangeMeant) {
		line(prefix+"Network", r.Network)
		line(prefix+"SubnetLen", fmt.Sprintf("%d, %s for hosts", r.SubnetLen, count(int(r.Subnets), "subnet")))
		line(prefix+"SubnetMin", r.SubnetMin)
		line(prefix+"SubnetMax", r.SubnetMax)
	}
	family("", r.Config.IPv4)
	if r.Config.IPv6 != nil {
		family("IPv6", *r.Config.IPv6)
	}
	line("Backend Type", r.Config.Backend.Type)
	for _, name := range slices.Sorted(maps.Keys(r.Config.Backend.Options)) {
		line("Backend "+name, r.Config.Backend.Options[name])
	}
	line("EnableNFTables", r.Config.NFTables)
	_ = table.Flush() // to memory
	return w.Bytes()
}

// shown is a document for a terminal, its lines as they are.
func shown(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, s)
}
