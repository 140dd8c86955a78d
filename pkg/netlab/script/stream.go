package script

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// streamPort is where a container echoes what another sends; each stream has its own.
const streamPort = 7000

// streamCommand opens a TCP connection from one container to another, over which lines with
// numbers go both ways, some fifty in a second, until the script ends.
func streamCommand(s *Script, args []string) (string, error) {
	pairs, err := pairs(s, args)
	if err != nil {
		return "", err
	}
	from, to := pairs[0][0], pairs[0][1]
	port := strconv.Itoa(streamPort + len(s.streams))
	s.Start(to.web.Namespace, nil, "busybox", "nc", "-l", "-p", port, "-e", "cat")
	if err := Eventually(5*time.Second, func() error {
		out, err := s.Output(to.web.Command(s.ctx, "ss", "-Hltn", "sport = :"+port))
		if err == nil && out == "" {
			err = fmt.Errorf("nobody listens on port %s", port)
		}
		return err
	}); err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", errScript{err}
	}
	s.streams = append(s.streams, s.Start(from.web.Namespace, []string{streamVariable + "=" + to.web.Addr().Addr().String() + ":" + port}, self))
	return flowsCommand(s, nil)
}

// streamVariable has the address and port of a stream, for the process that sends it.
const streamVariable = "NETLAB_SCRIPT_STREAMS_TO"

// Helper does what a script asks of another process of the same program, and reports
// whether this is such a one. TestMain calls it first, and exits with the status.
func Helper() (status int, is bool) {
	if to := os.Getenv(streamVariable); to != "" {
		return streamTo(to), true
	}
	return 0, false
}

// streamTo is a process of its own: it sends fifty lines with numbers in a second, and
// prints what comes back, for as long as the connection lasts.
func streamTo(address string) (status int) {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	go func() {
		for i := 1; ; i++ {
			if _, err := fmt.Fprintln(c, i); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	_, err = io.Copy(os.Stdout, c)
	fmt.Println("the connection has ended:", err)
	return 1
}

// flowsCommand fails if, on any stream, less than twenty more lines come back within five
// seconds, or if one is missing.
func flowsCommand(s *Script, _ []string) (string, error) {
	if len(s.streams) == 0 {
		return "", Mistake("there is no stream")
	}
	var all []string
	for i, p := range s.streams {
		before := strings.Count(p.Log.String(), "\n")
		var lines []string
		err := Eventually(5*time.Second, func() error {
			select {
			case <-p.done:
				return Mistake("stream %d has ended: %q", i, p.Log.String())
			default:
			}
			lines = strings.Split(p.Log.String(), "\n")
			lines = lines[:len(lines)-1] // what came after the last line's end
			if n := len(lines) - before; n < 20 {
				return fmt.Errorf("%d lines came by stream %d", n, i)
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		for n, line := range lines {
			if line != strconv.Itoa(n+1) {
				return "", Mistake("line %d of stream %d is %q", n+1, i, line)
			}
		}
		all = append(all, strconv.Itoa(len(lines)))
	}
	return strings.Join(all, " ") + "\n", nil
}
