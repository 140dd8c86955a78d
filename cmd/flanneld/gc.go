package main

import (
	"math"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// startTime is the longest that a start takes which has nothing to wait for.
	startTime = 2 * time.Second
	// startHeap bounds what it may allocate meanwhile, in bytes: a cluster of
	// 10,000 hosts stays below.
	startHeap = 48 << 20
)

// easeStart puts garbage collection off until resume is called or startTime is
// over. A start allocates some megabytes once, and collecting in between took it
// an eighth of its time at 1,000 hosts. What the operator has set by GOGC or
// GOMEMLIMIT stays.
func easeStart() (resume func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	debug.SetMemoryLimit(startHeap)
	percent := debug.SetGCPercent(-1)
	resume = sync.OnceFunc(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(math.MaxInt64)
		debug.FreeOSMemory()
	})
	time.AfterFunc(startTime, resume)
	return resume
}
