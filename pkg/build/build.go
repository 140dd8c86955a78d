// Package build says what a program was built from. It does not know how the linker is told:
// the values are variables of each program's main.
package build

import (
	"fmt"
	"runtime"
)

// Text returns what a program prints for --version, two lines: the version alone on the first,
// as scripts read it, then the commit, the release of Go and what it was built for.
func Text(version, commit string) string {
	return fmt.Sprintf("%s\ncommit %s, %s, %s/%s\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
