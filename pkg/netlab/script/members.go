package script

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func memberCommands() map[string]Command {
	return map[string]Command{
		"members": {"members <host...>", membersCommand},
		"member":  {"member <host> start|kill|hang|resume", memberCommand},
	}
}

// member is an etcd on a host, one of a cluster.
type member struct {
	*Process
	node *Node
	args []string
}

// membersCommand starts one etcd cluster with a member on each host, and sets MEMBERS
// to their endpoints.
func membersCommand(s *Script, args []string) (string, error) {
	var all, endpoints []string
	for _, name := range args {
		n, err := s.Find(name)
		if err != nil {
			return "", err
		}
		ip := n.Addr().Addr().String()
		all = append(all, name+"=http://"+ip+":2380")
		endpoints = append(endpoints, "http://"+ip+":2379")
	}
	s.members = make(map[string]*member)
	for _, name := range args {
		n := s.nodes[name]
		ip := n.Addr().Addr().String()
		dir := filepath.Join(s.Dir, "member-"+name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return "", err
		}
		m := &member{node: n, args: []string{
			"--name=" + name, "--enable-v2=true", "--data-dir=" + dir, "--log-level=error",
			"--listen-client-urls=http://" + ip + ":2379", "--advertise-client-urls=http://" + ip + ":2379",
			"--listen-peer-urls=http://" + ip + ":2380", "--initial-advertise-peer-urls=http://" + ip + ":2380",
			"--initial-cluster=" + strings.Join(all, ","), "--heartbeat-interval=50", "--election-timeout=500",
		}}
		s.members[name] = m
		startMember(s, m)
	}
	s.Setenv("MEMBERS", strings.Join(endpoints, ","))
	for _, name := range args {
		if err := healthy(s, s.members[name]); err != nil {
			return "", err
		}
	}
	return "", nil
}

func startMember(s *Script, m *member) {
	m.Process = s.Cluster.Start(m.node.Namespace, nil, s.program.Etcd, s.known(m.args)...)
}

func healthy(s *Script, m *member) error {
	return Eventually(15*time.Second, func() error {
		return m.node.Run("curl", "-fsS", "http://"+m.node.Addr().Addr().String()+":2379/health")
	})
}

func memberCommand(s *Script, args []string) (string, error) {
	m := s.members[args[0]]
	if m == nil {
		return "", Mistake("there is no member on %q", args[0])
	}
	switch args[1] {
	case "start":
		startMember(s, m)
		return "", nil
	case "kill":
		m.Kill()
		return "", nil
	case "hang":
		return "", m.Process.Process.Signal(unix.SIGSTOP)
	case "resume":
		return "", m.Process.Process.Signal(unix.SIGCONT)
	}
	return "", Mistake("member %s: it can be started, killed, hung and resumed", args[0])
}
