package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"

	"golang.org/x/sys/unix"
)

// mostAnswer bounds what Read takes from a socket: ten thousand peers are some two
// megabytes.
const mostAnswer = 16 << 20

// ErrRefused: the daemon answers, and not with what it was asked for.
var ErrRefused = errors.New("refuses")

// Read asks the daemon at a socket how its host is, with the list of at most so many peers.
func Read(ctx context.Context, socket string, peers int) (s Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTime)
	defer cancel()
	body, process, err := request(ctx, socket, fmt.Sprintf("/v1/status?peers=%d", peers))
	if err != nil {
		return s, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, mostAnswer))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read the answer of %s: %w", socket, err)
	}
	s.Process = process
	return s, nil
}

// Follow yields what happens to the daemon at a socket, first what it remembers of what came
// after an event. It ends with an error, unless ctx ends: that of the daemon is io.EOF.
func Follow(ctx context.Context, socket string, after uint64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		body, _, err := request(ctx, socket, fmt.Sprintf("/v1/events?after=%d", after))
		if err == nil {
			defer body.Close()
			// A line is an event, which is bounded.
			for lines := json.NewDecoder(body); err == nil; {
				var e Event
				if err = lines.Decode(&e); err == nil && !yield(e, nil) {
					return
				}
			}
		}
		if ctx.Err() == nil {
			yield(Event{}, err)
		}
	}
}

// request asks a daemon. Close the answer.
func request(ctx context.Context, socket, path string) (answer io.ReadCloser, process int, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: 3 * requestTime,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
			if err == nil {
				process = listener(c.(*net.UnixConn))
			}
			return c, err
		}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, 0, err
	}
	a, err := client.Do(r)
	if err != nil {
		return nil, 0, err
	}
	if a.StatusCode != http.StatusOK {
		defer a.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(a.Body, mostText)) // what there is of it
		return nil, 0, fmt.Errorf("%s %w: %s: %s", socket, ErrRefused, a.Status, strings.TrimSpace(string(text)))
	}
	return a.Body, process, nil
}

// listener returns the process that listens at the other end, by the number that it has in this
// process's PID namespace; 0: it has none there.
func listener(c *net.UnixConn) (process int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if who, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			process = int(who.Pid)
		}
	})
	return process
}
