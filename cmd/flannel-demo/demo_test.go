package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
)

// TestWhatAKilledOneLeavesIsRemoved has a demonstration whose process is gone, and one that runs.
func TestWhatAKilledOneLeavesIsRemoved(t *testing.T) {
	labtest.New(t) // or skips
	t.Setenv("TMPDIR", t.TempDir())
	killed, err := newCluster("vxlan", []string{"192.168.1.11/24"}, "v3", 1)
	if err != nil {
		t.Fatal(err)
	}
	running, err := newCluster("vxlan", []string{"192.168.1.11/24"}, "v3", 1)
	if err != nil {
		t.Fatal(err)
	}
	killed.lock.Close()
	if err := removeRemains(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(killed.dir); !os.IsNotExist(err) {
		t.Errorf("its files stay: %v", err)
	}
	if err := killed.nodes[0].Run("true"); err == nil {
		t.Error("its namespaces stay")
	}
	if err := running.nodes[0].Run("true"); err != nil {
		t.Errorf("the one that runs: %v", err)
	}
	if err := running.close(nil); err != nil {
		t.Error(err)
	}
}

// newProcess returns a process that is over once its standard input is closed.
func newProcess(t *testing.T) (p *process, end func()) {
	t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p = &process{name: "cat", cmd: cmd, done: make(chan struct{})}
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		in.Close()
		<-p.done
	})
	return p, func() { in.Close() }
}

func TestNotifySocketWait(t *testing.T) {
	for name, row := range map[string]struct {
		datagrams []string
		ends      bool
		timeout   time.Duration
		want      string // in the error; empty: none
	}{
		"ready":                 {datagrams: []string{"READY=1"}, timeout: time.Minute},
		"among other lines":     {datagrams: []string{"STATUS=x\nREADY=1\n"}, timeout: time.Minute},
		"after another":         {datagrams: []string{"STATUS=READY=1", "READY=1"}, timeout: time.Minute},
		"not ready":             {datagrams: []string{"STATUS=READY=1", "READY=0"}, timeout: 50 * time.Millisecond, want: "no READY=1 within"},
		"silent":                {timeout: 50 * time.Millisecond, want: "no READY=1 within"},
		"process ends before":   {ends: true, timeout: time.Minute, want: "it ended: exit status 0"},
		"process ends unready":  {datagrams: []string{"STATUS=x"}, ends: true, timeout: time.Minute, want: "it ended"},
		"ready, timeout passed": {timeout: -1, want: "no READY=1 within"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := newNotifySocket(filepath.Join(t.TempDir(), "notify"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			p, end := newProcess(t)
			client, err := net.Dial("unixgram", s.path)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			for _, d := range row.datagrams {
				if _, err := client.Write([]byte(d)); err != nil {
					t.Fatal(err)
				}
			}
			if row.ends {
				end()
			}
			err = s.wait(t.Context(), p, row.timeout)
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("wait() = %v, want error with %q", err, row.want)
			}
		})
	}
}

func TestReadEnv(t *testing.T) {
	name := filepath.Join(t.TempDir(), "subnet.env")
	if err := os.WriteFile(name, []byte("FLANNEL_SUBNET=10.1.2.1/24\nnothing\nFLANNEL_MTU=1450\nX=a=b"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := readEnv(name)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"FLANNEL_SUBNET": "10.1.2.1/24", "FLANNEL_MTU": "1450", "X": "a=b"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("readEnv (-want +got):\n%s", d)
	}
}

func TestRunRejects(t *testing.T) {
	for name, args := range map[string][]string{
		"unknown flag":   {"--nothing"},
		"no patience":    {"--flanneld=/bin/true", "--patience=0"},
		"unknown API":    {"--flanneld=/bin/true", "--etcd-api=v4"},
		"absent program": {"--flanneld=" + filepath.Join(t.TempDir(), "absent")},
		"absent etcd":    {"--flanneld=/bin/true", "--etcd=" + filepath.Join(t.TempDir(), "absent")},
	} {
		if err := run(context.Background(), args, t.Output()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestStore types what is shown of the store, by either API, and the daemons' part for them.
func TestStore(t *testing.T) {
	etcd, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("etcd is not installed (Debian: etcd-server)")
	}
	if err := netlab.Supported(); err != nil {
		t.Skip(err)
	}
	for _, row := range []struct {
		api         api
		put         string // what writes a lease
		write, list string // as they are shown
	}{
		{"v3", "put", "etcdctl put ", "etcdctl get --prefix " + prefix + "/subnets/"},
		{"v2", "set", "ETCDCTL_API=2 etcdctl mk ", "export ETCDCTL_API=2; for key in $(etcdctl ls --sort " + prefix + "/subnets); do echo $key; etcdctl get $key; done"},
	} {
		t.Run(string(row.api), func(t *testing.T) {
			c, err := newCluster("vxlan", []string{"192.168.1.11/24"}, row.api, 10)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := c.close(nil); err != nil {
					t.Error(err)
				}
			}()
			var out strings.Builder
			p := &printer{&out}
			err = errors.Join(c.startEtcd(t.Context(), etcd), c.configure(t.Context(), p))
			want := "\nswitch# " + row.write + prefix + `/config '{"Network": "10.100.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}'` +
				"\n\nswitch# " + row.list + "\n"
			for _, subnet := range []string{"10.100.1.0-24", "10.100.2.0-24"} {
				key, value := prefix+"/subnets/"+subnet, `{"PublicIP":"192.168.1.11"}`
				_, e := c.etcdctl(t.Context(), row.put, key, value)
				err = errors.Join(err, e)
				want += key + "\n" + value + "\n"
			}
			if err := errors.Join(err, c.showLeases(t.Context(), p)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, out.String()); d != "" {
				t.Errorf("the transcript is (-want +got):\n%s", d)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	boom := errors.New("signal: interrupt")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	for name, row := range map[string]struct {
		ctx       context.Context
		err, want error
	}{
		"a step fails":     {t.Context(), boom, boom},
		"interrupted":      {canceled, boom, context.Canceled},
		"too late":         {late, boom, boom},
		"done before that": {canceled, nil, nil},
	} {
		if err := interrupted(row.ctx, row.err); !errors.Is(err, row.want) {
			t.Errorf("%s: interrupted() = %v, want %v", name, err, row.want)
		}
	}
}

func TestEventually(t *testing.T) {
	boom := errors.New("boom")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, row := range map[string]struct {
		ctx      context.Context
		timeout  time.Duration
		failures int
		want     error
	}{
		"at once":      {t.Context(), time.Minute, 0, nil},
		"after two":    {t.Context(), time.Minute, 2, nil},
		"too late":     {t.Context(), 120 * time.Millisecond, 1 << 30, boom},
		"stopped":      {canceled, time.Minute, 1 << 30, context.Canceled},
		"just in time": {canceled, time.Minute, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			err := eventually(row.ctx, row.timeout, func() error {
				if calls++; calls > row.failures {
					return nil
				}
				return boom
			})
			if !errors.Is(err, row.want) {
				t.Errorf("eventually() = %v, want %v", err, row.want)
			}
		})
	}
}

func TestParseReport(t *testing.T) {
	for name, row := range map[string]struct {
		report string
		want   float64
		err    string
	}{
		"measured":         {`{"end":{"sum_received":{"bits_per_second":6.5e9}}}`, 6.5e9, ""},
		"refused, exits 0": {`{"start":{"connected":[]},"intervals":[],"end":{},"error":"unable to connect to server: Connection refused"}`, 0, "refused"},
		"nothing received": {`{"end":{"sum_received":{"bits_per_second":0}}}`, 0, "nothing"},
		"no JSON":          {`iperf3: error`, 0, "parse"},
	} {
		got, err := parseReport([]byte(row.report))
		if got != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: parseReport() = %v, %v; want %v, error with %q", name, got, err, row.want, row.err)
		}
	}
}

// A process on an emulated machine takes its time to end, and is no failure for that.
func TestStop(t *testing.T) {
	for name, row := range map[string]struct {
		script string
		limit  time.Duration
		ok     bool
	}{
		"late":  {"trap 'sleep 0.3; exit' TERM; echo; while :; do sleep 0.05; done", time.Minute, true},
		"never": {"trap '' TERM; echo; while :; do sleep 0.05; done", 100 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := &process{name: name, cmd: exec.Command("sh", "-c", row.script), done: make(chan struct{})}
			out, err := p.cmd.StdoutPipe()
			if err == nil {
				err = p.cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 1)); err != nil { // the trap is set
				t.Fatal(err)
			}
			go func() {
				_ = p.cmd.Wait()
				close(p.done)
			}()
			if err := p.stop(row.limit); (err == nil) != row.ok {
				t.Errorf("stop() = %v", err)
			}
			<-p.done
		})
	}
}

// A server of iperf3 -s -1 is gone after its first client, also if nothing came through:
// for the next attempt there has to be another.
func TestThroughputStartsAnotherServer(t *testing.T) {
	dir := t.TempDir()
	script := `#!/bin/sh
cd ` + dir + `
if [ "$1" = -s ]; then
	echo >>servers
	n=$(wc -l <servers)
	until [ -e served.$n ]; do sleep 0.02; done
	exit
fi
n=$(cat servers 2>/dev/null | wc -l)
[ $n -gt 0 ] && [ ! -e served.$n ] || { echo '{"error":"refused"}'; exit; }
: >served.$n
echo "{\"end\":{\"sum_received\":{\"bits_per_second\":$((n - 1))}}}"
`
	if err := os.WriteFile(filepath.Join(dir, "iperf3"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	at := labtest.New(t).Switch()
	c := &cluster{dir: dir, patience: 20}
	got, err := throughput(t.Context(), c, at.Namespace, at.Namespace, "127.0.0.1", 1)
	if got != 1 || err != nil {
		t.Errorf("throughput() = %v, %v; want 1", got, err)
	}
	for _, p := range c.processes {
		<-p.done
	}
}
