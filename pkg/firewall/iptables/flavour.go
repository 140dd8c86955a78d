package iptables

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Runner runs a program to its end and returns its standard output. An error has
// what the program printed on standard error, and is exec.ErrNotFound if there is
// no such program.
type Runner func(ctx context.Context, stdin, program string, arg ...string) (string, error)

// Flavour is one of the two implementations of iptables(8), which do not see each
// other's rules.
type Flavour struct {
	NFT bool // nf_tables; false: legacy
	// Infix of the programs' names, such as "-legacy"; empty: those that
	// iptables stands for on this host.
	Infix   string
	Version Version
}

// Version is that of the programs.
type Version [3]int

// Since162 reports whether the programs are of release 1.6.2 or later. Since then rules
// may have firewall.RandomFully, and iptables-restore takes the lock and has an option
// for how long it waits for it.
func (f Flavour) Since162() bool { return slices.Compare(f.Version[:], []int{1, 6, 2}) >= 0 }

// String returns the name that `iptables --version` gives the flavour.
func (f Flavour) String() string {
	if f.NFT {
		return "nf_tables"
	}
	return "legacy"
}

// ErrNone: there is no iptables on this host.
var ErrNone = errors.New("there is no iptables")

var versionLine = regexp.MustCompile(`^ip6?tables v(\d+)\.(\d+)(?:\.(\d+))?[^\s(]*(?: ?\((legacy|nf_tables)\))?\s*$`)

// parseVersion reads what `iptables --version` prints. Before 1.8 there was only
// the legacy flavour, and it did not say so.
func parseVersion(line string) (Flavour, error) {
	m := versionLine.FindStringSubmatch(line)
	if m == nil {
		return Flavour{}, fmt.Errorf("iptables says its version is %q", strings.TrimSpace(line))
	}
	f := Flavour{NFT: m[4] == "nf_tables"}
	for i := range f.Version {
		f.Version[i], _ = strconv.Atoi(m[i+1]) // digits; too many of them are as good as any
	}
	return f, nil
}

// Choose returns the flavours on this host, first the one to use. It is the one that has
// some of the chains, which another program has made. If neither or both have some, it
// is the one that the program iptables stands for. The error is ErrNone if there is no
// iptables, and another one if this host is too short of something to find out.
func Choose(ctx context.Context, run Runner, chains ...string) ([]Flavour, error) {
	first, err := find(ctx, run, "")
	if short(err) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w that works: %w", ErrNone, err)
	}
	infix := "-nft"
	if first.NFT {
		infix = "-legacy"
	}
	other, err := find(ctx, run, infix)
	switch {
	case err != nil || other.NFT == first.NFT:
		return []Flavour{first}, nil
	case other.hasAny(ctx, run, chains) && !first.hasAny(ctx, run, chains):
		return []Flavour{other, first}, nil
	}
	return []Flavour{first, other}, nil
}

// short reports whether a program could not run for a reason that passes.
func short(err error) bool {
	return slices.ContainsFunc([]error{unix.EMFILE, unix.ENFILE, unix.EAGAIN, unix.ENOMEM}, func(e error) bool { return errors.Is(err, e) })
}

// find asks the programs with the infix what they are.
func find(ctx context.Context, run Runner, infix string) (Flavour, error) {
	out, err := run(ctx, "", "iptables"+infix, "--version")
	if err != nil {
		return Flavour{}, err
	}
	f, err := parseVersion(out)
	f.Infix = infix
	return f, err
}

// hasAny reports whether the flavour has some of the chains. One that cannot be read
// has none.
func (f Flavour) hasAny(ctx context.Context, run Runner, chains []string) bool {
	saved, _ := run(ctx, "", f.program("iptables", "-save"))
	return slices.ContainsFunc(chains, func(c string) bool { return strings.Contains(saved, "\n:"+c+" ") })
}

func (f Flavour) program(name, suffix string) string { return name + f.Infix + suffix }
