package main

import (
	"flanneld/cmd/internal/options"
	"os"
	"testing"
	"time"

	"flanneld/pkg/netlab/original"
	"flanneld/pkg/netlab/script"
)

// asDaemon makes the test binary behave as flanneld, so that whole-daemon tests
// run the code under test in processes of its own.
const (
	asDaemon    = "FLANNELD_UNDER_TEST_RUNS_MAIN"
	asDaemonTTL = "FLANNELD_UNDER_TEST_LEASE_TTL"   // of its lease, such as 4s
	asDaemonOn  = "FLANNELD_UNDER_TEST_MACHINE_ID"  // the file with its machine-id(5)
	asOriginal  = "FLANNELD_UNDER_TEST_RELEASE"     // of the original, to behave as that; empty: as ours
	asWithout   = "FLANNELD_UNDER_TEST_WITHOUT_BPF" // the number of the error that bpf(2) returns; empty: it works
)

func TestMain(m *testing.M) {
	if os.Getenv(asDaemon) != "" {
		_ = os.Unsetenv(asDaemon)
		if release := os.Getenv(asOriginal); release != "" {
			os.Exit(original.Main(release, os.Args, os.Stderr))
		}
		var t options.Tuning
		t.LeaseTTL, _ = time.ParseDuration(os.Getenv(asDaemonTTL))
		t.MachineID = os.Getenv(asDaemonOn)
		if errno := os.Getenv(asWithout); errno != "" {
			withoutBPF(errno)
			_ = os.Unsetenv(asWithout)
		}
		_ = os.Unsetenv(asDaemonTTL)
		_ = os.Unsetenv(asDaemonOn)
		os.Exit(program(t))
	}
	if status, is := script.Helper(); is {
		os.Exit(status)
	}
	os.Exit(m.Run())
}
