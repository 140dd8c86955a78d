package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"flanneld/cmd/internal/options"
)

var update = flag.Bool("update", false, "rewrite the manual page")

// roff writes text so that no part of it is taken for a request or an escape.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}

// manual is flannelctl(8): what stands in the page, with what the commands say of
// themselves.
func manual(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("testdata/flannelctl.8.in")
	if err != nil {
		t.Fatal(err)
	}
	root := new(call).root()
	var commands strings.Builder
	for _, cmd := range leaves(root) {
		under := strings.TrimPrefix(cmd.Parent().CommandPath()+" ", "flannelctl ")
		fmt.Fprintf(&commands, ".SS %s\n", roff(under+cmd.Use))
		for i, paragraph := range strings.Split(cmd.Long, "\n\n") {
			if i > 0 {
				commands.WriteString(".PP\n")
			}
			for line := range strings.Lines(paragraph) {
				fmt.Fprintln(&commands, roff(strings.TrimSuffix(line, "\n")))
			}
		}
		commands.WriteString(flagList(own(cmd.LocalNonPersistentFlags())))
		commands.WriteString(".PP\n.nf\n.RS\n")
		for line := range strings.Lines(cmd.Example) {
			fmt.Fprintln(&commands, roff(strings.TrimSpace(line)))
		}
		commands.WriteString(".RE\n.fi\n")
	}
	return strings.NewReplacer("@COMMANDS@\n", commands.String(), "@FLAGS@\n", flagList(root.PersistentFlags()), "@ETCD@\n", flagList(etcdFlags())).Replace(string(page))
}

// leaves are the commands that do something.
func leaves(cmd *cobra.Command) (all []*cobra.Command) {
	for _, c := range cmd.Commands() {
		if c.HasSubCommands() {
			all = append(all, leaves(c)...)
		} else {
			all = append(all, c)
		}
	}
	return all
}

// etcdFlags are those that several commands have.
func etcdFlags() *pflag.FlagSet {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SortFlags = false
	options.EtcdFlags(new(options.Etcd)).Add(flags)
	return flags
}

// own returns a command's flags without those.
func own(all *pflag.FlagSet) *pflag.FlagSet {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	common := etcdFlags()
	all.VisitAll(func(f *pflag.Flag) {
		if common.Lookup(f.Name) == nil {
			flags.AddFlag(f)
		}
	})
	return flags
}

// flagList describes flags.
func flagList(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		arg, about := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if f.NoOptDefVal == "" {
			name += "=" + strings.ToUpper(arg)
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0s" && !strings.Contains(about, "(default") {
			about += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(name), roff(about))
	})
	return b.String()
}

// TestManualPage also writes it: -update.
func TestManualPage(t *testing.T) {
	const file = "../../dist/man/flannelctl.8"
	page := manual(t)
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), page); diff != "" {
		t.Errorf("%s (-want +got), -update rewrites it:\n%s", file, diff)
	}
	if strings.Contains(page, "@") {
		t.Error("something in the page was not filled in")
	}
	if _, err := exec.LookPath("groff"); err != nil {
		return // the page is plain enough; man complains about it where it is installed
	}
	if out, err := exec.Command("groff", "-man", "-ww", "-z", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}
