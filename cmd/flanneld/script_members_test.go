package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func memberCommands() map[string]command {
	return map[string]command{
		"members": {"members <host...>", (*script).membersCommand},
		"member":  {"member <host> start|kill|hang|resume", (*script).memberCommand},
	}
}

// member is an etcd on a host, one of a cluster of such.
type member struct {
	*process
	node *node
	args []string
}

// membersCommand makes one etcd of a member on each host, and sets MEMBERS to their
// endpoints.
func (s *script) membersCommand(args []string) (string, error) {
	var all, endpoints []string
	for _, name := range args {
		n, err := s.find(name)
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
		dir := filepath.Join(s.dir, "member-"+name)
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
		s.startMember(m)
	}
	s.Setenv("MEMBERS", strings.Join(endpoints, ","))
	for _, name := range args {
		if err := s.healthy(s.members[name]); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (s *script) startMember(m *member) {
	m.process = s.cluster.start(m.node.Namespace, nil, string(s.etcdBy), m.args...)
}

func (s *script) healthy(m *member) error {
	return eventually(15*time.Second, func() error {
		return m.node.Run("curl", "-fsS", "http://"+m.node.Addr().Addr().String()+":2379/health")
	})
}

func (s *script) memberCommand(args []string) (string, error) {
	m := s.members[args[0]]
	if m == nil {
		return "", mistake("there is no member on %q", args[0])
	}
	switch args[1] {
	case "start":
		s.startMember(m)
		return "", nil
	case "kill":
		m.kill()
		return "", nil
	case "hang":
		return "", m.Process.Signal(unix.SIGSTOP)
	case "resume":
		return "", m.Process.Signal(unix.SIGCONT)
	}
	return "", mistake("member %s: it can be started, killed, hung and resumed", args[0])
}
