package iptables

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
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

// RandomFully reports whether rules may have firewall.RandomFully.
func (f Flavour) RandomFully() bool { return f.since162() }

// since162 is also since when iptables-restore takes the lock, and has an option for
// how long it waits for it.
func (f Flavour) since162() bool {
	first := Version{1, 6, 2}
	return slices.Compare(f.Version[:], first[:]) >= 0
}

// String returns the name that `iptables --version` gives the flavour.
func (f Flavour) String() string {
	if f.NFT {
		return "nf_tables"
	}
	return "legacy"
}

// ErrNone: there is no iptables on this host.
var ErrNone = errors.New("there is no iptables")

var versionLine = regexp.MustCompile(`^ip6?tables v(\d+)\.(\d+)(?:\.(\d+))?\S*(?: \((legacy|nf_tables)\))?\s*$`)

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

// flavours returns those on this host: first the one that iptables stands for. It
// is ErrNone if there is none.
func flavours(ctx context.Context, run Runner) ([]Flavour, error) {
	out, err := run(ctx, "", "iptables", "--version")
	if err != nil {
		return nil, fmt.Errorf("%w that works: %w", ErrNone, err)
	}
	first, err := parseVersion(out)
	if err != nil {
		return nil, fmt.Errorf("%w that works: %w", ErrNone, err)
	}
	all := []Flavour{first}
	infix := "-nft"
	if first.NFT {
		infix = "-legacy"
	}
	if out, err = run(ctx, "", "iptables"+infix, "--version"); err == nil {
		if other, err := parseVersion(out); err == nil && other.NFT != first.NFT {
			other.Infix = infix
			all = append(all, other)
		}
	}
	return all, nil
}

// Choose returns the flavour to use, and the other one if the host has it. It is the
// flavour that has some of the chains, which another program has made. If neither or both
// have some, it is the one that the program iptables stands for. The error is ErrNone if
// there is no iptables.
func Choose(ctx context.Context, run Runner, chains ...string) (use Flavour, others []Flavour, err error) {
	all, err := flavours(ctx, run)
	if err != nil {
		return Flavour{}, nil, err
	}
	if len(all) == 2 {
		var there [2]bool
		for i, f := range all {
			saved, err := run(ctx, "", f.program("iptables", "-save"))
			if err != nil {
				continue // it has no say
			}
			for _, table := range Parse(saved) {
				for _, c := range chains {
					_, have := table[c]
					there[i] = there[i] || have
				}
			}
		}
		if there[1] && !there[0] {
			slices.Reverse(all)
		}
	}
	return all[0], all[1:], nil
}

func (f Flavour) program(name, suffix string) string { return name + f.Infix + suffix }
