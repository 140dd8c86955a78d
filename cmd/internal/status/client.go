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
	body, err := request(ctx, socket, fmt.Sprintf("/v1/status?peers=%d", peers))
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
	return s, nil
}

// Follow yields what happens to the daemon at a socket, first what it remembers of what came
// after an event. It ends with an error, unless ctx ends: that of the daemon is io.EOF.
func Follow(ctx context.Context, socket string, after uint64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		body, err := request(ctx, socket, fmt.Sprintf("/v1/events?after=%d", after))
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
func request(ctx context.Context, socket, path string) (io.ReadCloser, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: 3 * requestTime,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(answer.Body, mostText)) // what there is of it
		return nil, fmt.Errorf("%s %w: %s: %s", socket, ErrRefused, answer.Status, strings.TrimSpace(string(text)))
	}
	return answer.Body, nil
}
