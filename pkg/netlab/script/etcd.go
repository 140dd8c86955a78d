package script

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func etcdCommands() map[string]Command {
	return map[string]Command{
		"etcd":     {"etcd [v3only|kill|wipe|save|restore|hang|slow|resume]", etcdCommand},
		"etcdctl":  {"etcdctl <argument...>", etcdctlCommand},
		"etcdctl3": {"etcdctl3 <argument...>", etcdctl3Command},
		"api":      {"api <v2|v3>", apiCommand},
		"quiet":    {"quiet <time>", quietCommand},
		"churn":    {"churn <count>", churnCommand},
	}
}

// etcdCommand starts etcd on the data of the last one, and v3only does so without the v2
// API. kill ends it as a power failure
// does, and wipe then removes its data. save keeps a copy of the data, and restore kills
// etcd and puts the copy back. hang stops it and slow stops it most of the time, until
// resume.
func etcdCommand(s *Script, args []string) (string, error) {
	what := strings.Join(args, " ")
	switch what {
	case "":
		return "", s.startEtcd()
	case "v3only":
		return "", s.startEtcd("--enable-v2=false")
	case "kill", "wipe":
		s.server.Kill()
		if what == "wipe" {
			return "", os.RemoveAll(s.data)
		}
		return "", nil
	case "save":
		s.server.Kill()
		if err := os.CopyFS(s.data+".saved", os.DirFS(s.data)); err != nil {
			return "", errScript{err}
		}
		return "", s.startEtcd()
	case "restore":
		s.server.Kill()
		return "", errors.Join(os.RemoveAll(s.data), os.CopyFS(s.data, os.DirFS(s.data+".saved")))
	case "hang":
		return "", s.server.Process.Signal(unix.SIGSTOP)
	case "slow":
		ctx, cancel := context.WithCancel(s.ctx)
		s.brisk = cancel
		s.t.Cleanup(cancel)
		go stutter(ctx, s.server.Process)
		return "", nil
	case "resume":
		if s.brisk != nil {
			s.brisk()
		}
		return "", s.server.Process.Signal(unix.SIGCONT)
	}
	return "", Mistake("etcd %s: it can be without the v2 API, be killed, wiped, saved or restored, or hang or be slow and be resumed", what)
}

// stutter lets a process run for a tenth of each second, until ctx is done. The tenth is
// measured by a stopwatch, since a busy machine might not run the process at all in it.
func stutter(ctx context.Context, p *os.Process) {
	defer func() { _ = p.Signal(unix.SIGCONT) }()
	for {
		for _, step := range []struct {
			signal unix.Signal
			lasts  time.Duration
		}{{unix.SIGSTOP, 900 * time.Millisecond}, {unix.SIGCONT, 100 * time.Millisecond}} {
			_ = p.Signal(step.signal)
			watch := startStopwatch()
			for wait := true; wait; wait = step.signal == unix.SIGCONT && watch.elapsed() < step.lasts {
				select {
				case <-time.After(step.lasts):
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

// apiCommand chooses etcd's API for what the script does from now on, and for daemons that
// it starts. With v2, daemons choose for themselves.
func apiCommand(s *Script, args []string) (string, error) {
	switch args[0] {
	case "v2":
		s.api = ""
	case "v3":
		s.api = "v3"
	default:
		return "", Mistake("api %s: there are v2 and v3", args[0])
	}
	return "", nil
}

// etcdctlCommand asks the API that the script has chosen. The argument @file is what the
// file holds, without its last newline.
func etcdctlCommand(s *Script, args []string) (string, error) {
	args = slices.Clone(args)
	for i, arg := range args {
		if file, ok := strings.CutPrefix(arg, "@"); ok {
			text, err := os.ReadFile(s.MkAbs(file))
			if err != nil {
				return "", errScript{err}
			}
			args[i] = strings.TrimSuffix(string(text), "\n")
		}
	}
	if s.api == "v3" {
		return (&translator{run: func(args ...string) (string, error) { return etcdctl3Command(s, args) }}).do(args)
	}
	return s.Output(s.Lab.Switch().Command(s.ctx, "etcdctl", args...))
}

// etcdctl3Command is etcdctl with the v3 API.
func etcdctl3Command(s *Script, args []string) (string, error) {
	return s.Output(s.Lab.Switch().Command(s.ctx, "env", append([]string{"ETCDCTL_API=3", "etcdctl"}, args...)...))
}

// quietCommand fails if etcd is written to within the time.
func quietCommand(s *Script, args []string) (string, error) {
	before, err := index(s)
	if err != nil {
		return "", err
	}
	if _, err := sleepCommand(s, args); err != nil {
		return "", err
	}
	after, err := index(s)
	if err == nil && after != before {
		err = fmt.Errorf("etcd was written to: its index was %s and is %s", before, after)
	}
	return "", err
}

// index returns etcd's index, or its revision in the v3 API, which every write raises.
func index(s *Script) (string, error) {
	if s.api == "v3" {
		at, err := revision(func(args ...string) (string, error) { return etcdctl3Command(s, args) })
		return strconv.FormatInt(at, 10), err
	}
	out, err := s.Lab.Switch().Output("curl", "-fsSI", "-X", "GET", "http://127.0.0.1:2379/v2/keys/")
	for line := range strings.Lines(out) {
		if value, ok := strings.CutPrefix(line, "X-Etcd-Index:"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	if err == nil {
		err = fmt.Errorf("no index in etcd's answer %q", out)
	}
	return "", err
}

// churnCommand writes one key, which is no lease, many times, and makes etcd forget those
// changes: of the v2 API it keeps only the last thousand, of v3 what was not compacted.
func churnCommand(s *Script, args []string) (string, error) {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return "", err
	}
	store, err := NewLoader(s.Cluster)
	if err != nil {
		return "", err
	}
	defer store.Close()
	for i := range n {
		if err := store.Write("churn", strconv.Itoa(i), 0); err != nil {
			return "", err
		}
	}
	if s.api != "v3" {
		return "", nil
	}
	at, err := index(s)
	if err != nil {
		return "", err
	}
	return etcdctl3Command(s, []string{"compaction", at})
}
