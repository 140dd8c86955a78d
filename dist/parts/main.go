// Parts tells what Go programs are linked from, as the programs themselves have it:
//
//	parts sbom VERSION TIME PROGRAM...
//	parts copyright PROGRAM...
//
// The first prints a bill of materials in the format SPDX 2.3
// (https://spdx.github.io/spdx-spec/v2.3/), whose document the first program names; the time is
// when the programs were built, in RFC 3339. The second prints the licences and notices that
// whoever hands on the programs has to hand on with them. It is called in the module that the
// programs were built in; the same arguments print the same.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(w io.Writer, args []string) error {
	switch {
	case len(args) >= 4 && args[0] == "sbom":
		return printSBOM(w, args[1], args[2], args[3:])
	case len(args) >= 2 && args[0] == "copyright":
		return printCopyright(w, args[1:])
	}
	return errors.New("usage: parts sbom VERSION TIME PROGRAM... | parts copyright PROGRAM...")
}
