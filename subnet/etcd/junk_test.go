package etcd

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestJunkWithoutEndIsNot(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	j := NewJunk(slog.New(slog.NewTextHandler(&log, nil)))
	for range 2 {
		for i := range 2 * maxJunk {
			j.Ignore(fmt.Sprint("/subnets/junk", i), "x", errors.New("it is none"))
		}
	}
	if n := strings.Count(log.String(), "\n"); n != maxJunk+1 || strings.Count(log.String(), "more keys") != 1 {
		t.Errorf("%d lines, want %d", n, maxJunk+1)
	}
	if len(j.known) > maxJunk+1 {
		t.Errorf("%d keys are remembered", len(j.known))
	}
}
