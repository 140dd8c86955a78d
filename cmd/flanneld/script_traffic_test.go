package main

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fileSize is of what containers serve, in bytes: a hundred and more full
// packets.
const fileSize = 200_000

func trafficCommands() map[string]command {
	return map[string]command{
		"reach":     {"reach <all | from to>", (*script).reach},
		"fetch":     {"fetch <all | from to>", (*script).fetch},
		"ping":      {"ping <from> <to>", (*script).ping},
		"lost":      {"lost", (*script).lost},
		"fragments": {"fragments <from> <to> <bytes of the first>", (*script).fragments},
		"stream":    {"stream <from> <to>", (*script).stream},
		"flows":     {"flows", (*script).flows},
	}
}

// reach pings from container to container, over each family that both have, with
// the largest packet, which is not to be fragmented.
func (s *script) reach(args []string) (string, error) {
	return s.between(args, func(to netip.Addr, size int) string {
		return fmt.Sprintf("ping -c1 -W0.5 -Mdo -s%d %s", size, to)
	})
}

// fetch gets a file over TCP in full packets, after a ping of one byte more than
// fits was refused.
func (s *script) fetch(args []string) (string, error) {
	return s.between(args, func(to netip.Addr, size int) string {
		return fmt.Sprintf(`ping -c1 -W0.05 -Mdo -s%d %s 2>&1 | grep 'message too long' &&
test "$(curl -sS -m5 -o/dev/null -w'%%{size_download}' http://%s/file)" = %d`, size+1, to, netip.AddrPortFrom(to, 80), fileSize)
	})
}

// between runs a shell command in each source's container for each target's
// address. The size is that of the largest ping, in bytes without headers. It is one
// shell for a source, since to enter a namespace takes longer than a ping.
func (s *script) between(args []string, command func(to netip.Addr, size int) string) (string, error) {
	pairs, err := s.pairs(args)
	if err != nil {
		return "", err
	}
	shells := make(map[*node]string)
	for _, pair := range pairs {
		mtu, err := strconv.Atoi(pair[0].env("FLANNEL_MTU"))
		if err != nil {
			return "", err
		}
		for _, to := range pair[1].addrs() {
			headers := 20 + 8 // bytes: IPv4, ICMP
			if to.Is6() {
				headers = 40 + 8
			}
			if to.Is4() || pair[0].container.Addr6().IsValid() {
				shells[pair[0]] += command(to, mtu-headers) + " || exit 1\n"
			}
		}
	}
	errs := make(chan error)
	for from, shell := range shells {
		go func() {
			_, err := s.output(from.container.Command(s.ctx, "sh", "-xc", shell))
			if err != nil {
				err = fmt.Errorf("from %s: %w", from.Name(), err)
			}
			errs <- err
		}()
	}
	var failed []error
	for range shells {
		failed = append(failed, <-errs)
	}
	return "", errors.Join(failed...)
}

// pairs are those that the words mean: all containers, or one and another.
func (s *script) pairs(args []string) (pairs [][2]*node, err error) {
	names := args
	if args[0] == "all" {
		names = nil
		for name, n := range s.nodes {
			if n.container != nil {
				names = append(names, name)
			}
		}
		slices.Sort(names)
	}
	for _, name := range names {
		n, err := s.find(name)
		if err != nil {
			return nil, err
		}
		if n.container == nil {
			return nil, mistake("%s has no container", name)
		}
	}
	if len(names) < 2 {
		return nil, mistake("two containers are needed")
	}
	for _, from := range names {
		for _, to := range names {
			if from != to {
				pairs = append(pairs, [2]*node{s.nodes[from], s.nodes[to]})
			}
		}
	}
	if args[0] != "all" {
		pairs = pairs[:1]
	}
	return pairs, nil
}

// ping starts to send a hundred packets a second from one container to another.
func (s *script) ping(args []string) (string, error) {
	pairs, err := s.pairs(args)
	if err != nil {
		return "", err
	}
	from, to := pairs[0][0], pairs[0][1]
	for _, a := range to.addrs() {
		s.pinging = time.Now()
		s.pings = append(s.pings, s.start(from.container.Namespace, nil, "ping", "-i0.01", "-q", a.String()))
	}
	return "", nil
}

var pingTotal = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// lost ends the pings and prints how many packets were lost.
func (s *script) lost([]string) (string, error) {
	if len(s.pings) == 0 {
		return "", mistake("there was no ping")
	}
	// A few packets would show nothing.
	time.Sleep(time.Until(s.pinging.Add(time.Second)))
	var lost int
	for _, p := range s.pings {
		_ = p.Process.Signal(unix.SIGINT)
		<-p.done
		m := pingTotal.FindStringSubmatch(p.log.String())
		if m == nil {
			return "", mistake("ping says %q", p.log.String())
		}
		sent, _ := strconv.Atoi(m[1])
		received, _ := strconv.Atoi(m[2])
		// The last one's answer may still be on its way.
		if lost += max(sent-received-1, 0); sent < 50 || strings.Contains(p.log.String(), "duplicates") {
			return "", mistake("ping says %q", p.log.String())
		}
	}
	s.pings = nil
	return fmt.Sprintln(lost), nil
}
