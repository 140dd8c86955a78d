package script

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// bulkPort is the port of the first bulk transfer; the next have the next ports.
const bulkPort = 7500

// The environment variables that tell a transfer's two processes where they meet.
const (
	bulkToVariable = "NETLAB_SCRIPT_BULK_TO" // address and port
	bulkAtVariable = "NETLAB_SCRIPT_BULK_AT" // port
)

// bulk is a transfer that runs.
type bulk struct {
	*Process     // the receiver
	lines    int // of its output that were looked at

	watch stopwatch
}

// bulkCommand sends over TCP from one container to another as fast as it gets through, until
// the script ends.
func bulkCommand(s *Script, args []string) (string, error) {
	pairs, err := pairs(s, args)
	if err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", errScript{err}
	}
	from, to := pairs[0][0], pairs[0][1]
	port := strconv.Itoa(bulkPort + len(s.bulks))
	b := &bulk{Process: s.Start(to.web.Namespace, []string{bulkAtVariable + "=" + port}, self), watch: startStopwatch()}
	s.bulks = append(s.bulks, b)
	if err := awaitListener(s, to, port); err != nil {
		return "", err
	}
	s.Start(from.web.Namespace, []string{bulkToVariable + "=" + net.JoinHostPort(to.web.Addr().Addr().String(), port)}, self)
	return "", Eventually(5*time.Second, func() error {
		total, _, err := b.look()
		if err == nil && total == 0 {
			err = errors.New("nothing has come through")
		}
		return err
	})
}

// look returns how many bytes came in all, and how long none came at most since the last
// look that was taken note of.
func (b *bulk) look() (total int64, longest time.Duration, err error) {
	lines := strings.Split(b.Log.String(), "\n")
	lines = lines[:len(lines)-1] // the last may not be complete
	for _, line := range lines[min(b.lines, len(lines)):] {
		var gap int64 // in milliseconds
		if _, err := fmt.Sscan(line, &total, &gap); err != nil {
			return 0, 0, Mistake("a transfer has ended: %s", line)
		}
		longest = max(longest, time.Duration(gap)*time.Millisecond)
	}
	return total, longest, nil
}

// stalledCommand fails if a transfer has brought nothing for longer than a time, or brings
// nothing now, and prints the longest time of each; all since the command before, or since
// the transfer began.
func stalledCommand(s *Script, args []string) (string, error) {
	most, err := time.ParseDuration(args[0])
	if err != nil {
		return "", errScript{err}
	}
	if len(s.bulks) == 0 {
		return "", Mistake("there is no bulk transfer")
	}
	var all []string
	for i, b := range s.bulks {
		now, _, err := b.look()
		if err != nil {
			return "", err
		}
		var total int64
		var longest time.Duration
		err = Eventually(10*time.Second, func() (err error) {
			if total, longest, err = b.look(); err == nil && total-now < 1<<20 {
				err = fmt.Errorf("transfer %d has stopped after %d bytes", i, total)
			}
			return err
		})
		if err != nil {
			return "", err
		}
		if away := longest - excused(longest, pressure()-b.watch.stalled); away > most {
			return "", Mistake("transfer %d stood still for %s, more than %s", i, longest, most)
		}
		all = append(all, longest.String())
		b.lines, b.watch = strings.Count(b.Log.String(), "\n"), startStopwatch()
	}
	return strings.Join(all, " ") + "\n", nil
}

// sendBulk sends numbers of eight bytes.
func sendBulk(address string) error {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(c, 256<<10)
	for n := uint64(0); ; n++ {
		if err := binary.Write(w, binary.BigEndian, n); err != nil {
			return err
		}
	}
}

// receiveBulk prints five times in a second how many bytes came, and how long none came at
// most since it last said so, in milliseconds. It returns if they are not those that were sent.
func receiveBulk(port string) error {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	c, err := l.Accept()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	total, last, longest := int64(0), time.Now(), time.Duration(0)
	go func() {
		for range time.Tick(200 * time.Millisecond) {
			mu.Lock()
			fmt.Println(total, max(longest, time.Since(last)).Milliseconds())
			longest = 0
			mu.Unlock()
		}
	}()
	b, next := make([]byte, 256<<10), uint64(0)
	for {
		n, err := io.ReadAtLeast(c, b, 8)
		if rest := n % 8; err == nil && rest != 0 {
			_, err = io.ReadFull(c, b[n:n+8-rest])
			n += 8 - rest
		}
		if err != nil {
			return err
		}
		mu.Lock()
		total, longest, last = total+int64(n), max(longest, time.Since(last)), time.Now()
		mu.Unlock()
		for at := 0; at < n; at += 8 {
			if got := binary.BigEndian.Uint64(b[at:]); got != next {
				return fmt.Errorf("%d came where %d was sent", got, next)
			}
			next++
		}
	}
}
