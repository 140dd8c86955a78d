package machine

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOwnCgroups(t *testing.T) {
	for name, row := range map[string]struct {
		mounts, own string
		want        []string
	}{
		"both versions": {
			"28 24 0:25 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n" +
				"29 28 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
				"30 28 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n" +
				"31 28 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			"3:cpu,cpuacct:/job\n2:name=systemd:/\n0::/\n",
			[]string{"/sys/fs/cgroup/cpu,cpuacct/job", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"},
		},
		"version 2 in a container": {
			"31 28 0:28 /box /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n", "0::/box/job\n",
			[]string{"/sys/fs/cgroup/job"},
		},
		"outside of what is mounted": {"31 28 0:28 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/\n", nil},
		"no lines":                   {"x\n - \n", "y\n", nil},
	} {
		if diff := cmp.Diff(row.want, ownCgroups(row.mounts, row.own)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
