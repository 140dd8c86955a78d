package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

const versionHelp = `Print the version of this program and of the daemon that runs on this host. They
come in one package: if they differ, the daemon was not restarted after an
upgrade.`

// versions is their JSON form.
type versions struct {
	Schema  int    `json:"schema"`
	Program string `json:"flannelctl"`
	Daemon  string `json:"flanneld,omitempty"` // empty: not known
	Commit  string `json:"commit"`             // that this program was built from, or "unknown"
	Go      string `json:"go"`                 // that this program was made with
	Why     string `json:"reason,omitempty"`   // why the daemon's is not known
}

func versionCommand(c *call) *cobra.Command {
	a := &asking{call: c}
	return a.asksDaemon(&cobra.Command{
		Use:     "version",
		Short:   "Print the versions of this program and of the daemon",
		Long:    versionHelp,
		Example: "  flannelctl version",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return showVersion(cmd.Context(), a) },
	})
}

func showVersion(ctx context.Context, a *asking) error {
	v := versions{Schema: schema, Program: version, Commit: commit, Go: runtime.Version()}
	s, err := a.ask(ctx, 0)
	switch {
	case err != nil:
		v.Why = plain(err.Error())
	case s.PID == 0:
		v.Why = plain(s.NotReady[0])
	default:
		v.Daemon = plain(s.Version)
	}
	if a.output == "json" {
		err = a.printJSON(v)
	} else {
		daemon := v.Daemon
		if daemon == "" {
			daemon = "not known: " + v.Why
		}
		_, err = fmt.Fprintf(a.stdout, "flannelctl %s (commit %s, %s)\nflanneld   %s\n", v.Program, v.Commit, v.Go, daemon)
		if v.Daemon != "" && v.Daemon != v.Program && err == nil {
			_, err = fmt.Fprintln(a.stdout, "hint: systemctl restart flanneld, if it was upgraded")
		}
	}
	if err != nil {
		return failure{err, ""}
	}
	return nil
}
