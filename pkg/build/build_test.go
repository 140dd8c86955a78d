package build

import (
	"runtime"
	"testing"
)

func TestScriptsFindTheVersionOnTheFirstLine(t *testing.T) {
	want := "v1.0.0\ncommit 0123456789ab, " + runtime.Version() + ", linux/" + runtime.GOARCH + "\n"
	if got := Text("v1.0.0", "0123456789ab"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
