package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"flanneld/cmd/internal/host"
	"flanneld/pkg/netlab/script"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// TestScripts runs testdata/*.txtar: whole daemons on real hosts with a real etcd.
func TestScripts(t *testing.T) {
	runScripts(t, script.Params{Dir: "testdata", Program: underTest(t, etcdproc.Chosen()), API: os.Getenv("NETLAB_API")})
}

// TestFlannelEtcdScripts runs those that try the store itself on ours.
func TestFlannelEtcdScripts(t *testing.T) {
	runScripts(t, script.Params{Files: scripts("etcd-wiped", "lease", "reservation"), Program: underTest(t, etcdproc.FlannelEtcd(t))})
}

// TestV3Scripts runs those about faults of etcd on one that has the v3 API alone. All others
// run there with NETLAB_API=v3 and FLANNELD_TEST_ETCD=bin/etcd-3.6, by TestScripts.
func TestV3Scripts(t *testing.T) {
	files := scripts("etcd-counts-again", "etcd-killed", "etcd-members", "etcd-outage", "etcd-password", "etcd-restored-moved", "etcd-wiped",
		"etcd-wiped-restart", "lease", "lease-states", "reservation", "without-etcd-vxlan")
	runScripts(t, script.Params{Files: files, Program: underTest(t, etcdproc.Release(t, "3.6")), API: "v3"})
}

func scripts(names ...string) (files []string) {
	for _, name := range names {
		files = append(files, filepath.Join("testdata", name+".txtar"))
	}
	return files
}

func runScripts(t *testing.T, p script.Params) {
	p.Env = map[string]string{"FLANNELD": p.Program.Path} // with asDaemon, for what `start` cannot do
	p.Commands = map[string]script.Command{
		"ttl":       {Usage: "ttl <host> <time>", Run: ttl},
		"release":   {Usage: "release <host> 0.28.9|0.5.5|ours", Run: release},
		"machine":   {Usage: "machine <host> <id>", Run: machine},
		"load":      {Usage: "load <backend> <count>", Run: load},
		"narrow":    {Usage: "narrow <host> <MTU> [told]", Run: narrow},
		"fragments": {Usage: "fragments <from> <to> <bytes of the first>", Run: fragments},
	}
	a := make(attached)
	p.Commands["programs"] = script.Command{Usage: "programs <host>", Run: a.programs}
	p.Commands["ended"] = script.Command{Usage: "ended <host>", Run: a.ended}
	m := newMirrors(t)
	p.Env["FLANNELCTL"] = m.path
	p.Commands["flannelctl"] = script.Command{Usage: "flannelctl <argument...>", Run: m.flannelctl}
	p.Commands["mirror"] = script.Command{Usage: "mirror <begin|log|kill|end> [flag...]", Run: m.mirror}
	script.Run(t, p)
}

// underTest is this test binary, which behaves as flanneld.
func underTest(t testing.TB, etcd etcdproc.Program) script.Program {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return script.Program{
		Name: "flanneld", Path: self, Env: []string{asDaemon + "=1"}, Flags: scriptFlags,
		Variables: scriptVariables, Devices: "flannel*", Stopped: exitStopped,
		Etcd: string(etcd),
		EtcdArgs: func(dir string) []string {
			// It stands alone, so that it need not wait for a member before it elects itself.
			m := etcdproc.Member{
				Dir: dir, Clients: "http://0.0.0.0:2379", Advertise: "http://127.0.0.1:2379",
				Peers: "http://127.0.0.1:2380", Brisk: true,
			}
			return append(m.Args(), "--log-level=error")
		},
		EtcdKnows: etcd.Knows,
	}
}

func scriptFlags(n *script.Node) []string {
	flags := []string{"--etcd-endpoints=http://" + n.Gateway().String() + ":2379",
		"--subnet-file=" + n.SubnetFile(), "--state-dir=" + filepath.Join(n.Dir, "state")}
	if api := n.API(); api != "" {
		flags = append(flags, "--etcd-api="+api)
	}
	return flags
}

// scriptVariables are the host's subnets, and the key of its lease in etcd.
func scriptVariables(subnetFile string) map[string]string {
	vars := host.ReadSubnetEnv(subnetFile, discard)
	return map[string]string{
		"NET": vars.Subnet.String(), "NET6": vars.SubnetV6.String(),
		"KEY": strings.NewReplacer("/", "-", " ", "&").Replace(vars.Key().String()),
	}
}

// ttl gives the leases of daemons that are started from now on another life.
func ttl(s *script.Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err == nil {
		n.Environ = append(n.Environ, asDaemonTTL+"="+args[1])
	}
	return "", err
}

// release says which daemon is started on a host from now on: one that does as a release of
// the original does, or this one.
func release(s *script.Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err != nil {
		return "", err
	}
	switch args[1] {
	case "0.28.9", "0.5.5":
		n.Environ = append(n.Environ, asOriginal+"="+args[1])
	case "ours":
		n.Environ = append(n.Environ, asOriginal+"=")
	default:
		return "", script.Mistake("release %s: there are 0.28.9, 0.5.5 and ours", args[1])
	}
	return "", nil
}

// machine gives the host a machine-id(5) of its own.
func machine(s *script.Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err != nil {
		return "", err
	}
	file := filepath.Join(n.Dir, "machine-id")
	n.Environ = append(n.Environ, asDaemonOn+"="+file)
	return "", os.WriteFile(file, []byte(args[1]+"\n"), 0o644)
}

// load writes leases of so many other hosts.
func load(s *script.Script, args []string) (string, error) {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return "", err
	}
	store, err := script.NewLoader(s.Cluster)
	if err != nil {
		return "", err
	}
	defer store.Close()
	for i := range n {
		if err := putLease(store, peerLease(i, args[0])); err != nil {
			return "", err
		}
	}
	return "", nil
}

// narrow gives the router before a host an MTU, and keeps its ICMP errors from all hosts, unless
// they are to be told.
func narrow(s *script.Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err != nil {
		return "", err
	}
	shell := `ip link set $(ip -o route get ` + n.Addr().Addr().String() + ` | sed 's/.* dev //;s/ .*//') mtu ` + args[1]
	if len(args) < 3 {
		shell += "\niptables -w -A OUTPUT -p icmp --icmp-type fragmentation-needed -j DROP"
	}
	return s.Lab.Switch().Output("sh", "-ec", shell)
}

// configure writes the document of a benchmark's cluster.
func configure(t testing.TB, c *script.Cluster, doc string) {
	t.Helper()
	store, err := script.NewLoader(c)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Write("coreos.com/network/config", doc, 0); err != nil {
		t.Fatal("write config: ", err)
	}
}

var discard = slog.New(slog.DiscardHandler)
