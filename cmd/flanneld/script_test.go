package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	etcdproc "flanneld/subnet/storetest/etcd"
)

// TestScripts runs testdata/*.txtar: whole daemons on real hosts with a real
// etcd. CONTRIBUTING.md says how a script is written.
//
// Scripts run in parallel, as many at a time as there are cores: most of a
// script is waiting, so that each still has what it needs to be in time.
func TestScripts(t *testing.T) {
	runScripts(t, testscript.Params{Dir: "testdata"}, etcdproc.Chosen())
}

// TestFlannelEtcdScripts runs those that try the store itself on ours.
func TestFlannelEtcdScripts(t *testing.T) {
	var files []string
	for _, name := range []string{"etcd-wiped", "lease", "reservation"} {
		files = append(files, filepath.Join("testdata", name+".txtar"))
	}
	runScripts(t, testscript.Params{Files: files}, etcdproc.FlannelEtcd(t))
}

func runScripts(t *testing.T, p testscript.Params, etcd etcdproc.Program) {
	// An interrupt must not leave namespaces behind, nor must a test that takes
	// too long: both make every command fail, and so the script ends.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	t.Cleanup(stop)
	if end, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, end.Add(-15*time.Second), errors.New("the test's time is up"))
		t.Cleanup(cancel)
	}
	commands := make(map[string]func(*testscript.TestScript, bool, []string))
	for name, c := range allCommands() {
		commands[name] = func(ts *testscript.TestScript, neg bool, args []string) { c.runLine(ts, neg, args) }
	}
	p.WorkdirRoot, p.Cmds, p.RequireUniqueNames = t.TempDir(), commands, true
	p.Setup = func(env *testscript.Env) error {
		s := &script{ctx: ctx, dir: env.WorkDir, nodes: make(map[string]*node)}
		s.cluster = newLab(scriptTB{TB: env.T().(testing.TB), env: env, script: s}, etcd)
		env.Values[scriptKey{}] = s
		env.Setenv("ETCDCTL_API", "2")
		self, err := os.Executable()
		env.Setenv("FLANNELD", self) // with asDaemon, for what `start` cannot do
		return err
	}
	testscript.Run(t, p)
}

// script is the state of a script that runs.
type script struct {
	*cluster
	*testscript.TestScript // the line that runs
	ctx                    context.Context
	dir                    string // $WORK
	nodes                  map[string]*node
	members                map[string]*member // by the host
	pings                  []*process
	pinging                stopwatch // since the last of them was started
	repeats                bool      // the line that runs is one of several tries
	streams                []*process
	brisk                  func() // ends that etcd is slow; nil: it was not
	givenDockerd           string // path of a dockerd that is not the root's own; empty: it is
}

type scriptKey struct{}

// scriptTB makes what tests do for clean-up happen before the script's directory
// is removed, and failures name the script's line.
type scriptTB struct {
	testing.TB
	env    *testscript.Env
	script *script
}

func (t scriptTB) Cleanup(f func()) { t.env.Defer(f) }

func (t scriptTB) Fatal(args ...any) { t.Fatalf("%s", fmt.Sprint(args...)) }

func (t scriptTB) Fatalf(format string, args ...any) {
	if t.script.TestScript == nil {
		t.TB.Fatalf(format, args...)
	}
	t.script.Fatalf(format, args...)
}

// command is what a line of a script does. The output is what `stdout` and the
// like look at.
type command struct {
	usage string
	run   func(s *script, args []string) (output string, err error)
}

// errScript is a mistake in the script: neither `!` nor `within` makes it good.
type errScript struct{ error }

func mistake(format string, args ...any) error { return errScript{fmt.Errorf(format, args...)} }

func (c command) runLine(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(scriptKey{}).(*script)
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

func (c command) do(s *script, args []string) (string, error) {
	if s.ctx.Err() != nil {
		return "", errScript{context.Cause(s.ctx)}
	}
	if need := strings.Count(c.usage, "<"); len(args) < need {
		return "", mistake("usage: %s", c.usage)
	}
	return c.run(s, args)
}

func allCommands() map[string]command {
	all := make(map[string]command)
	for _, commands := range []map[string]command{etcdCommands(), memberCommands(), costCommands(), hostCommands(), trafficCommands(), dockerCommands(), {
		"within": {"within <time> [!] <command> [argument...] [~|!~ regexp]", (*script).within},
		"sleep":  {"sleep <time>", (*script).sleep},
	}} {
		maps.Copy(all, commands)
	}
	return all
}

// within repeats a command until it succeeds (with `!` before it: fails) and its
// output matches (with `!~`: does not match), and fails if that takes longer.
func (s *script) within(args []string) (string, error) {
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
	c, ok := allCommands()[args[0]]
	if !ok {
		return "", mistake("no command %q for within", args[0])
	}
	var out string
	var wrong errScript
	s.repeats = true
	defer func() { s.repeats = false }()
	err = eventually(limit, func() (err error) {
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

// splitMatch cuts "~ regexp" off a command and returns what checks an output for
// it.
func splitMatch(args []string) ([]string, func(string) error, error) {
	i := slices.IndexFunc(args, func(a string) bool { return a == "~" || a == "!~" })
	if i < 0 {
		return args, func(string) error { return nil }, nil
	}
	if i == 0 || i != len(args)-2 {
		return nil, nil, mistake("%s needs a command before it and one regexp after it", args[i])
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

func (s *script) sleep(args []string) (string, error) {
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
