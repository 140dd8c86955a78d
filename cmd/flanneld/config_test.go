package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/glog"
)

func TestRepeatedIsLoggedNowAndThenAtItsCallersPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		say := repeated{log: slog.New(glog.New(&log, nil))}
		for range 61 {
			say.error("no configuration", 7)
			time.Sleep(time.Second)
		}
		_, _, here, _ := runtime.Caller(0)
		say.error("no configuration", 8)
		place := fmt.Sprintf("config_test.go:%d] no configuration", here-3)
		if n := strings.Count(log.String(), place); n != 3 || strings.Count(log.String(), "\n") != 4 {
			t.Errorf("log is %s, want three lines with %q, and one of another revision", &log, place)
		}
	})
}
