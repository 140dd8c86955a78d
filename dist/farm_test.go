package dist_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
	"flanneld/pkg/netlab/machine"
)

// farm is hosts with a real systemd and a real Docker, and flanneld installed. The
// first one has etcd, too.
type farm struct {
	*testing.T
	lab   *netlab.Lab
	hosts []*host
}

type host struct {
	*machine.Machine
	t       *testing.T
	subnet  string // that it is to keep; empty: not known yet
	address string // of its container
	web     string // the container's first process

	terminal *terminal // into which pages are pasted; nil: none is open
}

// settings make etcd listen to the other hosts.
const settings = `ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379
ETCD_ADVERTISE_CLIENT_URLS=http://192.168.1.11:2379
`

// newFarm installs hosts docker1, docker2 … with these addresses and boots them.
func newFarm(t *testing.T, addresses ...string) *farm {
	t.Helper()
	return newFarmOf(t, machine.DockerHost(), addresses...)
}

// newFarmOf makes the hosts by another recipe, which must have what DockerHost has.
func newFarmOf(t *testing.T, recipe machine.Recipe, addresses ...string) *farm {
	t.Helper()
	f := bareFarm(t, recipe, addresses...)
	f.hosts[0].write("/etc/default/etcd", settings)
	f.all("dpkg -i /root/flanneld.deb && ! systemctl is-enabled flanneld && ! systemctl is-active flanneld")
	for _, h := range f.hosts {
		h.write("/etc/default/flanneld", "FLANNELD_ETCD_ENDPOINTS=http://192.168.1.11:2379\n")
	}
	return f
}

// bareFarm boots hosts on which nothing is installed beside what the recipe has. The package
// lies in /root.
func bareFarm(t *testing.T, recipe machine.Recipe, addresses ...string) *farm {
	t.Helper()
	if testing.Short() {
		t.Skip("takes minutes")
	}
	if err := machine.Supported(); err != nil {
		t.Skip(err)
	}
	root, err := recipe.Build(t.Context(), machine.CacheDir())
	if err != nil {
		t.Fatal(err)
	}
	lab := labtest.New(t)
	deb, _ := makePackages(t)
	f := &farm{T: t, lab: lab}
	for i, address := range addresses {
		net, err := lab.Host(fmt.Sprintf("docker%d", i+1), address)
		if err != nil {
			t.Fatal(err)
		}
		m, err := machine.New(net, root, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		m.Unified = i == 1 // with several hosts, some have control groups of version 1 and some of 2
		h := &host{Machine: m, t: t}
		t.Cleanup(func() {
			if t.Failed() {
				h.report()
			}
			if err := m.Kill(); err != nil {
				t.Error(err)
			}
		})
		f.hosts = append(f.hosts, h)
		h.copy(deb, "/root/flanneld.deb")
	}
	f.each(func(h *host) error { return h.Boot(h.t.Context()) })
	f.each(settled)
	for _, h := range f.hosts { // which a boot empties
		h.copy(deb, "/tmp/"+filepath.Base(deb))
	}
	return f
}

// each does something on all hosts at once, and ends the test if it fails on one.
func (f *farm) each(do func(*host) error) {
	f.Helper()
	f.at(f.hosts, do)
}

// at is each for some of the hosts.
func (f *farm) at(hosts []*host, do func(*host) error) {
	f.Helper()
	var g sync.WaitGroup
	errs := make([]error, len(hosts))
	for i, h := range hosts {
		g.Go(func() { errs[i] = do(h) })
	}
	g.Wait()
	for i, err := range errs {
		if err != nil {
			f.Errorf("%s: %v", hosts[i].Name(), err)
		}
	}
	if f.Failed() {
		f.FailNow()
	}
}

// all runs a shell script on all hosts at once.
func (f *farm) all(script string) {
	f.Helper()
	f.each(func(h *host) error { _, err := h.try(script); return err })
}

// cycle switches hosts off, each in its way, and on again.
func (f *farm) cycle(off func(*host) error, hosts ...*host) {
	f.Helper()
	f.at(hosts, off)
	for _, h := range hosts { // the lab does one thing after the other
		if err := h.Renew(); err != nil {
			f.Fatal(err)
		}
	}
	f.at(hosts, func(h *host) error { return h.Boot(f.Context()) })
}

// step runs part of a story, which ends with the first part that fails.
func (f *farm) step(what string, do func()) {
	f.Helper()
	start := time.Now()
	do()
	f.Logf("%5.1fs %s", time.Since(start).Seconds(), what)
}

// etcdctl runs it on the first host, with the API that it has unless told otherwise: v3.
func (f *farm) etcdctl(args string) {
	f.Helper()
	f.hosts[0].sh("etcdctl " + args)
}

// try runs a shell script.
func (h *host) try(script string) (string, error) {
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	// What it would do for init scripts takes as long as a boot.
	out, err := h.Output(ctx, "env", "SYSTEMCTL_SKIP_SYSV=1", "sh", "-euc", script)
	return strings.TrimSpace(out), err
}

// sh is a script that must succeed.
func (h *host) sh(script string) string {
	h.t.Helper()
	out, err := h.try(script)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// want is a script that must succeed and whose output must match.
func (h *host) want(script, pattern string) {
	h.t.Helper()
	if out := h.sh(script); !regexp.MustCompile(pattern).MatchString(out) {
		h.t.Fatalf("%s# %s\n%s\ndoes not match %s", h.Name(), script, out, pattern)
	}
}

// until repeats a script until it succeeds and its output matches.
func (h *host) until(within time.Duration, script, pattern string) error {
	_, err := h.await(within, script, pattern)
	return err
}

// await is until, and returns that output.
func (h *host) await(within time.Duration, script, pattern string) (string, error) {
	match := regexp.MustCompile(pattern)
	// Four hosts that are asked ten times a second keep one of two processors busy.
	pause := 50 * time.Millisecond
	for end := time.Now().Add(within); ; pause = min(2*pause, 400*time.Millisecond) {
		out, err := h.try(script)
		switch late := time.Now().After(end); {
		case err == nil && match.MatchString(out):
			return out, nil
		case late && err != nil:
			return "", fmt.Errorf("%s# %s\n%s after %s: %w", h.Name(), script, out, within, err)
		case late:
			return "", fmt.Errorf("%s# %s\n%s does not match %s within %s", h.Name(), script, out, pattern, within)
		}
		time.Sleep(pause)
	}
}

func (h *host) write(path, text string) {
	h.t.Helper()
	path = h.Disk(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) copy(from, to string) {
	h.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		h.t.Fatal(err)
	}
	h.write(to, string(data))
}

// settled fails if a unit of the host has.
func settled(h *host) error {
	state, err := h.Settle(h.t.Context())
	if err == nil && state != "running" {
		failed, _ := h.try("systemctl --failed --no-legend --plain")
		err = fmt.Errorf("is %s: %s", state, failed)
	}
	return err
}

// report shows what a failed test is about.
func (h *host) report() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.t.Context()), 20*time.Second)
	defer cancel()
	out, err := h.Output(ctx, "sh", "-c", `
		systemctl --failed --no-legend --plain; systemctl list-jobs --no-legend --plain
		ip -br addr; ip route; ip neigh; bridge fdb show; ip -s link show type vxlan; cat /run/flannel/*
		journalctl -q --no-pager -o short-precise -n 60 -u flanneld -u docker -u etcd; docker ps -a`)
	h.t.Logf("%s:\n%s (%v)", h.Name(), out, err)
}
