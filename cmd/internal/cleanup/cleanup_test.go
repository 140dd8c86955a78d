package cleanup

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/datapath"
)

// stubborn is a kernel with two devices, of which it does not let one go.
type stubborn struct{ err error }

var keeps = datapath.Op{Verb: datapath.Delete, Object: datapath.Link{Name: "flannel.2", Kind: "vxlan", Alias: "flanneld /b"}}

func (stubborn) Read(context.Context, datapath.Scope) (datapath.State, error) {
	return datapath.State{Links: []datapath.Link{{Name: "flannel.1", Kind: "vxlan", Alias: "flanneld /a"}, keeps.Object.(datapath.Link)}}, nil
}

func (k stubborn) Do(context.Context, []datapath.Op) error { return k.err }

func TestOnlyWhatHasGoneIsSaidToHave(t *testing.T) {
	first := []Change{{"device", "ip link del flannel.1"}}
	both := append(first, Change{"device", "ip link del flannel.2"})
	for _, tt := range []struct {
		name string
		err  error
		dry  bool
		want []Change
	}{
		{"all", nil, false, both},
		{"one refused", errors.Join(&datapath.OpError{Op: keeps, Err: os.ErrPermission}), false, first},
		{"dry", nil, true, both},
		{"no answer", errors.New("open netlink socket: too many open files"), false, nil},
		{"no answer in the middle", errors.Join(errors.New("receive: timed out")), false, nil},
	} {
		var r Report
		for range 2 { // the same twice is said once
			if err := r.remove(t.Context(), Options{Kernel: stubborn{tt.err}, Dry: tt.dry}, datapath.Scope{}); !errors.Is(err, tt.err) {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		if diff := cmp.Diff(tt.want, r.Removed); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, diff)
		}
	}
}

func TestFilesAreOursByWhatIsInThem(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rm := func(path string) Change { return Change{"file", "rm -d " + path} }
	const env = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
	subnetFile := file("run/subnet.env", env)
	docker := file("run/docker", "DOCKER_NETWORK_OPTIONS=\" --bip=10.5.1.1/24 --mtu=1450\"\n")
	others := file("docker_opts.env", `DOCKER_OPT_BIP="--bip=10.5.1.1/244"`)
	state := filepath.Join(dir, "state")
	mine := []string{file("state/.probe-1", ""), file("state/cluster", ""), file("state/flannel.1.mac", ""), file("state/lock", ""), file("state/node-id", "")}
	foreign := file("state/notes", "")

	socket := filepath.Join(dir, "run", "flanneld.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{SubnetFile: subnetFile, Socket: socket, DockerOptions: others, StateDir: state, Dry: true}
	check := func(name string, want []Change, left []Left) {
		t.Helper()
		var r Report
		if err := r.files(o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(Report{want, left}, r); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	all := []Change{rm(docker), rm(subnetFile)}
	for _, f := range mine {
		all = append(all, rm(f))
	}
	strange := []Left{{state, "there are files in it that are not the daemon's"}}
	check("dry, a daemon answers", all, strange)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	o.Dry = false
	check("wet", append([]Change{rm(docker), rm(subnetFile), rm(socket)}, all[2:]...), strange)
	check("again", nil, strange)
	for path, want := range map[string]bool{others: true, foreign: true, subnetFile: false, docker: false, socket: false, mine[1]: false} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}

	// With this host's subnet in it, and nothing else in the directory; and a file that is no subnet file.
	others = file("docker_opts.env", `DOCKER_OPT_BIP="--bip=10.5.1.1/24"`)
	subnetFile = file("run/subnet.env", env)
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	check("the rest", []Change{rm(others), rm(subnetFile), rm(state)}, nil)
	o.SubnetFile = file("run/subnet.env", "SUBNET=10.5.1.1/24\n")
	check("no subnet file", nil, []Left{{o.SubnetFile, "it is no subnet file"}})
}
