package etcdproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// RunCluster is Run for a cluster of so many members, each with a directory of
// its own in dir. They are started together, since none is healthy alone.
func RunCluster(ctx context.Context, dir string, members int, args ...string) ([]*Proc, error) {
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
			procs[i], errs[i] = Run(ctx, dirs[i], own...)
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
