// Release makes the parts of a release for which there is no program in Debian:
//
//	release image FILE NAME VERSION COMMIT SECONDS ARCH=DIRECTORY...
//	release sign KEY FILE SECONDS
//
// The first writes a container image for all architectures as an OCI image layout
// (https://specs.opencontainers.org/image-spec/image-layout/) in one tar file; each directory is
// what the package of that architecture installs. The second signs a file with a secret key of
// minisign (https://jedisct1.github.io/minisign/), whose password, if it has one, is the variable
// MINISIGN_PASSWORD. The time, in seconds since 1970, is that of the commit: the same arguments
// write the same bytes. It is a module of its own, so that what it is linked from is not the
// daemon's.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(w io.Writer, args []string) error {
	switch {
	case len(args) >= 7 && args[0] == "image":
		at, err := seconds(args[5])
		if err != nil {
			return err
		}
		digest, err := writeImage(args[1], about{Name: args[2], Version: args[3], Commit: args[4], Time: at}, args[6:])
		if err != nil {
			return fmt.Errorf("make %s: %w", args[1], err)
		}
		_, err = fmt.Fprintln(w, digest)
		return err
	case len(args) == 4 && args[0] == "sign":
		at, err := seconds(args[3])
		if err != nil {
			return err
		}
		return sign(args[1], os.Getenv("MINISIGN_PASSWORD"), args[2], at)
	}
	return errors.New("usage: release image FILE NAME VERSION COMMIT SECONDS ARCH=DIRECTORY... | release sign KEY FILE SECONDS")
}

func seconds(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("the time is %q, want seconds since 1970", s)
	}
	return time.Unix(n, 0).UTC(), nil
}
