package storetest

import (
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"
	"time"
)

// Main runs a package's tests, and fails if goroutines are left that they have started. It
// returns the exit status.
func Main(m *testing.M) int {
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
	return code
}
