package main

import (
	"strings"
	"testing"

	"flanneld/cmd/internal/options"
)

// Scripts of older releases read it from standard error, where it was always printed.
func TestVersionIsAloneOnTheFirstLine(t *testing.T) {
	for _, flag := range []string{"--version", "-version", "-V"} {
		var stderr strings.Builder
		err := run(t.Context(), []string{"flanneld", flag}, nil, &stderr, options.Tuning{})
		if code := exitStatus(err, &stderr); code != exitStopped || !strings.HasPrefix(stderr.String(), "dev\ncommit unknown, go1.") {
			t.Errorf("%s: status %d, %q", flag, code, stderr.String())
		}
	}
}
