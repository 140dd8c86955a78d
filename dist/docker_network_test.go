package dist_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestDockerNetwork(t *testing.T) {
	const line = "docker network create --driver bridge --subnet 10.1.74.0/24 --gateway 10.1.74.1 --opt com.docker.network.driver.mtu=1472" +
		" --opt com.docker.network.bridge.enable_ip_masquerade=false --opt com.docker.network.bridge.name=br-flannel flannel\n"
	for _, shell := range [][]string{{"dash"}, {"bash"}, {"busybox", "sh"}} {
		for _, row := range []struct {
			name, in string
			args     []string
			want     string // what is printed; empty: it fails
		}{
			{"plain", subnetEnv, nil, line},
			{"other name", subnetEnv, []string{"web"}, strings.Replace(line, "flannel\n", "web\n", 1)},
			{"other bridge", subnetEnv, []string{"-b", "br-web", "web"}, strings.Replace(line, "br-flannel flannel\n", "br-web web\n", 1)},
			{"bridge with too long a name", subnetEnv, []string{"-b", "br-0123456789abc"}, ""},
			{"bridge that is code", subnetEnv, []string{"-b", "a;id"}, ""},
			{"not on a byte's boundary", "FLANNEL_SUBNET=10.1.75.65/26\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n", nil,
				strings.NewReplacer("10.1.74.0/24", "10.1.75.64/26", "10.1.74.1", "10.1.75.65").Replace(line)},
			{"masquerading left to Docker", strings.Replace(subnetEnv, "true", "false", 1), nil,
				strings.Replace(line, "masquerade=false", "masquerade=true", 1)},
			{"no subnet", "FLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n", nil, ""},
			{"no length", "FLANNEL_SUBNET=10.1.74.1\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n", nil, ""},
			{"octal", "FLANNEL_SUBNET=010.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n", nil, ""},
			{"too large", "FLANNEL_SUBNET=10.1.274.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n", nil, ""},
			{"no MTU", "FLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_IPMASQ=true\n", nil, ""},
			{"code", "FLANNEL_SUBNET=10.1.74.1/24;id\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n", nil, ""},
			{"name that is code", subnetEnv, []string{"a;id"}, ""},
		} {
			t.Run(shell[0]+" "+row.name, func(t *testing.T) {
				if _, err := exec.LookPath(shell[0]); err != nil {
					t.Skip("shell is not installed:", err)
				}
				file := filepath.Join(t.TempDir(), "subnet.env")
				write(t, file, row.in, 0o644)
				cmd := exec.Command(shell[0], append(append(shell[1:len(shell):len(shell)], "docker-network.sh", "-f", file), row.args...)...)
				out, err := cmd.Output()
				if string(out) != row.want || (err == nil) != (row.want != "") {
					t.Errorf("printed %q, %v; want %q", out, err, row.want)
				}
			})
		}
	}
}
