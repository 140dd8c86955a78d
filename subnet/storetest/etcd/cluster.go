package etcdproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// RunCluster is Program.Run for a cluster of so many members, each with a directory of
// its own in dir. They are started together, since none is healthy alone.
func RunCluster(ctx context.Context, program Program, dir string, members int, args ...string) ([]*Proc, error) {
	dirs, all := make([]string, members), make([]string, members)
	for i := range dirs {
		u, err := free()
		if err != nil {
			return nil, err
		}
		all[i] = fmt.Sprintf("m%d=%s", i+1, u.peers)
		dirs[i] = filepath.Join(dir, fmt.Sprintf("m%d", i+1))
		if err := os.MkdirAll(dirs[i], 0o700); err != nil {
			return nil, err
		}
		if err := u.keep(dirs[i]); err != nil {
			return nil, err
		}
	}
	procs, errs := make([]*Proc, members), make([]error, members)
	var started sync.WaitGroup
	for i := range procs {
		started.Go(func() {
			own := append([]string{fmt.Sprintf("--name=m%d", i+1), "--initial-cluster=" + strings.Join(all, ",")}, args...)
			procs[i], errs[i] = program.Run(ctx, dirs[i], own...)
		})
	}
	started.Wait()
	if err := errors.Join(errs...); err != nil {
		for _, p := range procs {
			if p != nil {
				p.Stop()
			}
		}
		return nil, err
	}
	return procs, nil
}

// StartCluster runs etcds that are members of one cluster until the test is over.
// Their elections are quick. The test is skipped if etcd is not installed.
func StartCluster(t testing.TB, members int) []*Proc {
	t.Helper()
	var all []*Proc
	var err error
	for range 3 { // a port that was free can be taken by the time etcd asks for it
		all, err = RunCluster(t.Context(), Chosen(), t.TempDir(), members, "--heartbeat-interval=50", "--election-timeout=500")
		if err == nil || errors.Is(err, ErrNotInstalled) {
			break
		}
	}
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		t.Cleanup(p.Stop)
	}
	return all
}
