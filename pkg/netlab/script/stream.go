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

// streamPort is the port of the first stream, at which a container echoes; the next
// streams have the next ports.
const streamPort = 7000

// streamCommand opens a TCP connection from one container to another. Until the script
// ends, it sends numbered lines, fifty in a second, and gets them back.
func streamCommand(s *Script, args []string) (string, error) {
	pairs, err := pairs(s, args)
	if err != nil {
		return "", err
	}
	from, to := pairs[0][0], pairs[0][1]
	port := strconv.Itoa(streamPort + len(s.streams))
	s.Start(to.web.Namespace, nil, "busybox", "nc", "-l", "-p", port, "-e", "cat")
	if err := awaitListener(s, to, port); err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", errScript{err}
	}
	s.streams = append(s.streams, s.Start(from.web.Namespace, []string{streamVariable + "=" + to.web.Addr().Addr().String() + ":" + port}, self))
	return flowsCommand(s, nil)
}

// awaitListener waits until a process in the host's container listens on a TCP port.
func awaitListener(s *Script, n *Node, port string) error {
	return Eventually(5*time.Second, func() error {
		out, err := s.Output(n.web.Command(s.ctx, "ss", "-Hltn", "sport = :"+port))
		if err == nil && out == "" {
			err = fmt.Errorf("nobody listens on port %s", port)
		}
		return err
	})
}

// streamVariable is the environment variable that tells a stream's sending process the
// address and port.
const streamVariable = "NETLAB_SCRIPT_STREAMS_TO"

// Helper is the work of a process that a script starts from the test's own program. It
// reports whether this process is one. TestMain calls it first, and exits with the status.
func Helper() (status int, is bool) {
	if to := os.Getenv(streamVariable); to != "" {
		return streamTo(to), true
	}
	var err error
	if to := os.Getenv(bulkToVariable); to != "" {
		err = sendBulk(to)
	} else if at := os.Getenv(bulkAtVariable); at != "" {
		err = receiveBulk(at)
	}
	if to := os.Getenv(datagramsToVariable); to != "" {
		if err = sendDatagrams(to); err == nil {
			return 0, true
		}
	} else if at := os.Getenv(datagramsAtVariable); at != "" {
		err = receiveDatagrams(at)
	}
	if err != nil {
		fmt.Println(err)
		return 1, true
	}
	return 0, false
}

// streamTo sends fifty numbered lines in a second and prints what comes back, for as
// long as the connection lasts. It runs in a process of its own.
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

// flowsCommand fails if a stream brings back less than twenty more lines within five
// seconds, or if a line is missing.
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
			lines = lines[:len(lines)-1] // the last one may not be complete
			if n := len(lines) - before; n < 20 {
				return fmt.Errorf("stream %d brought %d lines back", i, n)
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
