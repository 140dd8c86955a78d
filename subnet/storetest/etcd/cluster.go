package etcdproc

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// StartCluster runs etcds that are members of one cluster until the test is over.
// Their elections are quick. The test is skipped if etcd is not installed.
func StartCluster(t testing.TB, members int) []*Proc {
	t.Helper()
	var all []*Proc
	var err error
	for range 3 { // a port that was free can be taken by the time etcd asks for it
		if all, err = startCluster(t, members); err == nil {
			return all
		}
	}
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	t.Fatal(err)
	return nil
}

func startCluster(t testing.TB, members int) ([]*Proc, error) {
	bin, err := exec.LookPath("etcd")
	if err != nil {
		return nil, ErrNotInstalled
	}
	at := make([]urls, members)
	peers := make([]string, members)
	for i := range at {
		if at[i], err = free(); err != nil {
			return nil, err
		}
		peers[i] = fmt.Sprintf("m%d=%s", i, at[i].peers)
	}
	all := make([]*Proc, members)
	var g errgroup.Group // none is healthy before most are there
	for i := range all {
		dir := t.TempDir()
		g.Go(func() (err error) {
			all[i], err = run(t.Context(), bin, dir, at[i], []string{
				fmt.Sprintf("--name=m%d", i), "--initial-cluster=" + strings.Join(peers, ","),
				"--heartbeat-interval=50", "--election-timeout=500",
			})
			return err
		})
	}
	err = g.Wait()
	for _, p := range all {
		if p != nil && err != nil {
			p.Stop()
		} else if p != nil {
			t.Cleanup(p.Stop)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("run a cluster of etcds: %w", err)
	}
	return all, nil
}
