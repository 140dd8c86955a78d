package main

import (
	"os"
	"testing"
)

// asDaemon makes the test binary behave as flanneld, so that whole-daemon tests
// run the code under test in processes of its own.
const asDaemon = "FLANNELD_UNDER_TEST_RUNS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asDaemon) != "" {
		_ = os.Unsetenv(asDaemon)
		main()
		return
	}
	os.Exit(m.Run())
}
