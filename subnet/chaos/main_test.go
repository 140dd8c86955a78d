package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostVar makes a process of the test's program a host: it holds an identity.
const hostVar = "CHAOS_HOST"

// TestMain also checks that all goroutines have ended that the tests started.
func TestMain(m *testing.M) {
	if id := os.Getenv(hostVar); id != "" {
		os.Exit(beHost(id))
	}
	before := len(goroutines())
	code := m.Run()
	for deadline := time.Now().Add(10 * time.Second); code == 0 && len(goroutines()) > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			last := goroutines()
			fmt.Fprintf(os.Stderr, "goroutines: %d at first, %d at last\n%s\n", before, len(last), strings.Join(last, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// goroutines returns the stacks of those that are not toxiproxy's: of its, some
// stay when a connection ends while a fault begins.
func goroutines() []string {
	buf := make([]byte, 16<<20)
	all := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	return slices.DeleteFunc(all, func(stack string) bool { return strings.Contains(stack, "Shopify/toxiproxy") })
}

// beHost lives until SIGTERM, and writes its notes to standard output.
func beHost(text string) int {
	var id identity
	if err := json.Unmarshal([]byte(text), &id); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var out account
	err := live(ctx, id, func(n note) {
		out.mu.Lock()
		defer out.mu.Unlock()
		line, err := json.Marshal(n)
		if err != nil {
			panic(err)
		}
		_, _ = os.Stdout.Write(append(line, '\n')) // if nobody reads, the run is over
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
