package script

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fileSize is the size of the file that containers serve, in bytes: more than a
// hundred full packets.
const fileSize = 200_000

func trafficCommands() map[string]Command {
	return map[string]Command{
		"reach":     {"reach <all | from to>", reachCommand},
		"fetch":     {"fetch <all | from to>", fetchCommand},
		"ping":      {"ping <from> <to>", pingCommand},
		"lost":      {"lost [time]", lostCommand},
		"stream":    {"stream <from> <to>", streamCommand},
		"flows":     {"flows", flowsCommand},
		"datagrams": {"datagrams <all | from to>", datagramsCommand},
		"bulk":      {"bulk <from> <to>", bulkCommand},
		"stalled":   {"stalled <time>", stalledCommand},
	}
}

// reachCommand pings from container to container, over each family that both have, with
// the largest packet that need not be fragmented. It waits longer for an answer if it is
// not repeated.
func reachCommand(s *Script, args []string) (string, error) {
	patience := 3.0 // seconds
	if s.repeats {
		patience = 0.5
	}
	return between(s, args, func(to netip.Addr, size int) string {
		return fmt.Sprintf("ping -c1 -W%v -Mdo -s%d %s", patience, size, to)
	})
}

// fetchCommand gets a file over TCP in full packets. Before that it checks that a ping
// that is one byte too large is refused.
func fetchCommand(s *Script, args []string) (string, error) {
	return between(s, args, func(to netip.Addr, size int) string {
		return fmt.Sprintf(`ping -c1 -W0.05 -Mdo -s%d %s 2>&1 | grep 'message too long' &&
test "$(curl -sS -m15 -o/dev/null -w'%%{size_download}' http://%s/file)" = %d`, size+1, to, netip.AddrPortFrom(to, 80), fileSize)
	})
}

// between runs a shell command in each source's container for each target's
// address. The size is that of the largest ping, in bytes without headers. Each source
// has one shell, since entering a namespace takes longer than a ping.
func between(s *Script, args []string, command func(to netip.Addr, size int) string) (string, error) {
	pairs, err := pairs(s, args)
	if err != nil {
		return "", err
	}
	shells := make(map[*Node]string)
	for _, pair := range pairs {
		mtu, err := strconv.Atoi(pair[0].Env("FLANNEL_MTU"))
		if err != nil {
			return "", err
		}
		for _, to := range pair[1].addrs() {
			headers := 20 + 8 // bytes: IPv4, ICMP
			if to.Is6() {
				headers = 40 + 8
			}
			if to.Is4() || pair[0].web.Addr6().IsValid() {
				shells[pair[0]] += command(to, mtu-headers) + " || exit 1\n"
			}
		}
	}
	errs := make(chan error)
	for from, shell := range shells {
		go func() {
			_, err := s.Output(from.web.Command(s.ctx, "sh", "-xc", shell))
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

// pairs returns the pairs that the arguments name: all containers with each other, or
// one and another.
func pairs(s *Script, args []string) (pairs [][2]*Node, err error) {
	names := args
	if args[0] == "all" {
		names = nil
		for name, n := range s.nodes {
			if n.web != nil {
				names = append(names, name)
			}
		}
		slices.Sort(names)
	}
	for _, name := range names {
		n, err := s.Find(name)
		if err != nil {
			return nil, err
		}
		if n.web == nil {
			return nil, Mistake("%s has no container", name)
		}
	}
	if len(names) < 2 {
		return nil, Mistake("two containers are needed")
	}
	for _, from := range names {
		for _, to := range names {
			if from != to {
				pairs = append(pairs, [2]*Node{s.nodes[from], s.nodes[to]})
			}
		}
	}
	if args[0] != "all" {
		pairs = pairs[:1]
	}
	return pairs, nil
}

// pingCommand starts to send a hundred packets a second from one container to another.
func pingCommand(s *Script, args []string) (string, error) {
	pairs, err := pairs(s, args)
	if err != nil {
		return "", err
	}
	from, to := pairs[0][0], pairs[0][1]
	for _, a := range to.addrs() {
		s.pinging = startStopwatch()
		s.pings = append(s.pings, s.Start(from.web.Namespace, nil, "ping", fmt.Sprintf("-i%v", pingPeriod.Seconds()), "-q", a.String()))
	}
	return "", nil
}

var (
	pingTotal = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)
	pingSoFar = regexp.MustCompile(`(\d+)/(\d+) packets, `) // received, sent; on SIGQUIT
)

// pingPeriod is from one packet to the next.
const pingPeriod = 10 * time.Millisecond

// lostCommand ends the pings and prints how many packets were lost. With a time, it fails
// if more were lost than are sent in that time, by the stopwatch.
func lostCommand(s *Script, args []string) (string, error) {
	if len(s.pings) == 0 {
		return "", Mistake("there was no ping")
	}
	// A few packets would show nothing.
	time.Sleep(time.Until(s.pinging.began.Add(time.Second)))
	var lost int
	for _, p := range s.pings {
		waitedFor, err := unanswered(p)
		if err != nil {
			return "", errScript{err}
		}
		_ = p.Process.Signal(unix.SIGINT)
		<-p.done
		m := pingTotal.FindStringSubmatch(p.Log.String())
		if m == nil {
			return "", Mistake("ping says %q", p.Log.String())
		}
		sent, _ := strconv.Atoi(m[1])
		received, _ := strconv.Atoi(m[2])
		// The answer to the last packet may still be on its way.
		if lost += max(min(sent-received, waitedFor)-1, 0); sent < 50 || strings.Contains(p.Log.String(), "duplicates") {
			return "", Mistake("ping says %q", p.Log.String())
		}
	}
	s.pings = nil
	if len(args) > 0 {
		most, err := time.ParseDuration(args[0])
		if err != nil {
			return "", errScript{err}
		}
		wall := time.Duration(lost) * pingPeriod
		if away := s.pinging.own(wall); away > most {
			return "", Mistake("%d packets were lost, which is %s, more than %s", lost, away, most)
		}
	}
	return fmt.Sprintln(lost), nil
}

// unanswered returns how many packets of a running ping have no answer, once it has sent
// fifty. It is the least number within two seconds, since answers are late on a busy
// machine, and a lost packet stays lost.
func unanswered(p *Process) (least int, err error) {
	least = math.MaxInt
	watch := startStopwatch()
	err = Eventually(30*time.Second, func() error {
		if err := p.Process.Signal(unix.SIGQUIT); err != nil {
			return errScript{err}
		}
		time.Sleep(20 * time.Millisecond)
		all := pingSoFar.FindAllStringSubmatch(p.Log.String(), -1)
		if all == nil {
			return fmt.Errorf("ping does not say how far it is: %q", p.Log.String())
		}
		received, _ := strconv.Atoi(all[len(all)-1][1])
		sent, _ := strconv.Atoi(all[len(all)-1][2])
		if sent < 50 {
			return fmt.Errorf("ping has sent %d packets", sent)
		}
		if least = min(least, sent-received); least > 1 && watch.elapsed() < 2*time.Second {
			return fmt.Errorf("%d packets have no answer", least)
		}
		return nil
	})
	return least, err
}
