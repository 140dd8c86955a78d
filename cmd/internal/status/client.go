package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// mostAnswer bounds what Read takes from a socket: ten thousand peers are some two
// megabytes.
const mostAnswer = 16 << 20

// Read asks the daemon at a socket how its host is, with the list of at most so many peers.
func Read(ctx context.Context, socket string, peers int) (s Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTime)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://localhost/v1/status?peers=%d", peers), nil)
	if err != nil {
		return s, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswer))
	switch {
	case err != nil:
		return s, err
	case answer.StatusCode != http.StatusOK:
		return s, fmt.Errorf("%s answers %s: %s", socket, answer.Status, clip(strings.TrimSpace(string(text))))
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read the answer of %s: %w", socket, err)
	}
	return s, nil
}
