// Package script runs whole-daemon scripts: what an operator would type, on hosts that are
// network namespaces, against a real etcd. It knows hosts, containers, traffic, etcd, Docker
// and systemd's notices. It does not know the daemon: the caller gives the program, and
// commands for it alone. docs/testing.md says how to write a script.
package script

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// Params says which scripts to run, and with which daemon.
type Params struct {
	Dir      string   // with scripts: *.txtar
	Files    []string // paths of scripts, instead of Dir
	Program  Program
	Commands map[string]Command // in addition to those of this package
	Env      map[string]string  // variables that scripts find
	API      string             // of etcd, that scripts begin with: "v3", or empty for v2
}

// Run runs scripts as tests of t in parallel, as many at a time as there are cores. A
// script waits most of its time, so that they hardly slow each other down.
func Run(t *testing.T, params Params) {
	// An interrupt, or a test that takes too long, must not leave namespaces behind:
	// both make every command fail, which ends the script.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	t.Cleanup(stop)
	if end, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, end.Add(-15*time.Second), errors.New("the test's time is up"))
		t.Cleanup(cancel)
	}
	commands := make(map[string]func(*testscript.TestScript, bool, []string))
	all := allCommands()
	maps.Copy(all, params.Commands)
	for name, c := range all {
		commands[name] = func(ts *testscript.TestScript, neg bool, args []string) { c.runLine(ts, neg, args) }
	}
	p := testscript.Params{Dir: params.Dir, Files: params.Files, WorkdirRoot: t.TempDir(), Cmds: commands, RequireUniqueNames: true}
	p.Condition = func(name string) (bool, error) {
		if name != "v3" {
			return false, fmt.Errorf("unknown condition %q", name)
		}
		return params.API == name, nil
	}
	p.Setup = func(env *testscript.Env) error {
		s := &Script{ctx: ctx, Dir: env.WorkDir, commands: all, nodes: make(map[string]*Node)}
		s.Cluster = newLab(scriptTB{TB: env.T().(testing.TB), env: env, script: s}, params.Program)
		env.Values[scriptKey{}] = s
		s.api = params.API
		env.Setenv("ETCDCTL_API", "2")
		for name, value := range params.Env {
			env.Setenv(name, value)
		}
		return nil
	}
	testscript.Run(t, p)
}

// Script is the state of a script that runs.
type Script struct {
	*Cluster
	*testscript.TestScript // the line that runs
	ctx                    context.Context
	Dir                    string // $WORK
	commands               map[string]Command
	nodes                  map[string]*Node
	members                map[string]*member // by the host
	pings                  []*Process
	pinging                stopwatch // since the last of them was started
	repeats                bool      // the line that runs is one of several tries
	streams                []*Process
	bulks                  []*bulk
	brisk                  func() // makes a slow etcd normal again; nil: it was never slow
	givenDockerd           string // path of a dockerd to use instead of the root's; empty: none
}

type scriptKey struct{}

// scriptTB runs clean-up functions before the script's directory is removed, and makes
// failures name the script's line.
type scriptTB struct {
	testing.TB
	env    *testscript.Env
	script *Script
}

func (t scriptTB) Cleanup(f func()) { t.env.Defer(f) }

func (t scriptTB) Fatal(args ...any) { t.Fatalf("%s", fmt.Sprint(args...)) }

func (t scriptTB) Fatalf(format string, args ...any) {
	if t.script.TestScript == nil {
		t.TB.Fatalf(format, args...)
	}
	t.script.Fatalf(format, args...)
}

// Command is a command of scripts. The script's `stdout` looks at the output.
type Command struct {
	Usage string // each <argument> in it is required
	Run   func(s *Script, args []string) (output string, err error)
}

// errScript is a mistake in the script: it fails under `!` and `within`, too.
type errScript struct{ error }

// Mistake returns an error of the script itself, which fails under `!` and `within`, too.
func Mistake(format string, args ...any) error { return errScript{fmt.Errorf(format, args...)} }

func (c Command) runLine(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(scriptKey{}).(*Script)
	s.TestScript = ts
	out, err := c.do(s, args)
	_, _ = io.WriteString(ts.Stdout(), out)
	switch {
	case err == nil && neg:
		ts.Fatalf("unexpected success")
	case err != nil && (!neg || errors.As(err, new(errScript))):
		ts.Fatalf("%v", err)
	case err != nil:
		_, _ = io.WriteString(ts.Stderr(), err.Error()+"\n")
	}
}

func (c Command) do(s *Script, args []string) (string, error) {
	if s.ctx.Err() != nil {
		return "", errScript{context.Cause(s.ctx)}
	}
	if need := strings.Count(c.Usage, "<"); len(args) < need {
		return "", Mistake("usage: %s", c.Usage)
	}
	return c.Run(s, args)
}

func allCommands() map[string]Command {
	all := make(map[string]Command)
	for _, commands := range []map[string]Command{etcdCommands(), memberCommands(), costCommands(), hostCommands(), daemonCommands(), trafficCommands(), dockerCommands(), {
		"within": {"within <time> [!] <command> [argument...] [~|!~ regexp]", withinCommand},
		"sleep":  {"sleep <time>", sleepCommand},
	}} {
		maps.Copy(all, commands)
	}
	return all
}

// withinCommand repeats a command until it succeeds (with `!` before it: fails) and its
// output matches (with `!~`: does not match). It fails if that takes longer than the time.
func withinCommand(s *Script, args []string) (string, error) {
	limit, err := time.ParseDuration(args[0])
	if err != nil {
		return "", errScript{err}
	}
	args, want, err := splitMatch(args[1:])
	if err != nil {
		return "", err
	}
	neg := args[0] == "!"
	if neg {
		args = args[1:]
	}
	c, ok := s.commands[args[0]]
	if !ok {
		return "", Mistake("no command %q for within", args[0])
	}
	var out string
	var wrong errScript
	s.repeats = true
	defer func() { s.repeats = false }()
	err = Eventually(limit, func() (err error) {
		out, err = c.do(s, args[1:])
		switch {
		case errors.As(err, &wrong):
			return nil
		case neg && err == nil:
			return errors.New("unexpected success")
		case !neg && err != nil:
			return err
		}
		return want(out)
	})
	if wrong.error != nil {
		err = wrong
	}
	return out, err
}

// Context ends when the script's time is up.
func (s *Script) Context() context.Context { return s.ctx }

// Find returns a host by its name.
func (s *Script) Find(name string) (*Node, error) {
	if n := s.nodes[name]; n != nil {
		return n, nil
	}
	return nil, Mistake("there is no host %q", name)
}

// Running is Find for commands that need a daemon.
func (s *Script) Running(name string) (*Node, error) {
	n, err := s.Find(name)
	if err == nil && n.Daemon == nil {
		err = Mistake("%s was never started on %s", s.program.Name, name)
	}
	return n, err
}

// Output runs a command to its end and returns all that it printed.
func (s *Script) Output(cmd *exec.Cmd) (string, error) {
	cmd.Env = append(os.Environ(), "ETCDCTL_API=2")
	cmd.Dir = s.Dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return string(out), err
}

// splitMatch cuts "~ regexp" off a command and returns the check of the output.
func splitMatch(args []string) ([]string, func(string) error, error) {
	i := slices.IndexFunc(args, func(a string) bool { return a == "~" || a == "!~" })
	if i < 0 {
		return args, func(string) error { return nil }, nil
	}
	if i == 0 || i != len(args)-2 {
		return nil, nil, Mistake("%s needs a command before it and one regexp after it", args[i])
	}
	re, err := regexp.Compile("(?m)" + args[i+1])
	if err != nil {
		return nil, nil, errScript{err}
	}
	not := args[i] == "!~"
	return args[:i], func(out string) error {
		if re.MatchString(out) == not {
			return fmt.Errorf("output is %q", out)
		}
		return nil
	}, nil
}

func sleepCommand(s *Script, args []string) (string, error) {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return "", errScript{err}
	}
	select {
	case <-time.After(d):
		return "", nil
	case <-s.ctx.Done():
		return "", errScript{context.Cause(s.ctx)}
	}
}
