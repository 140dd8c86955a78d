package etcd3

import (
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestMain checks that all goroutines have ended that the tests started. Most
// tests wait most of the time, and so run together.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" {
		before = math.MaxInt // who leads the fuzzing listens to signals for good
	}
	for deadline := time.Now().Add(5 * time.Second); code == 0 && runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			fmt.Fprintf(os.Stderr, "goroutines: %d at first, %d at last\n%s\n", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
			code = 1
		}
	}
	os.Exit(code)
}
