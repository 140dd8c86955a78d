package iptables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// lockFile is what all users of the legacy flavour lock.
	lockFile = "/run/xtables.lock"
	// lockTime is the longest wait for it.
	lockTime = 5 * time.Second
)

// Tables changes one family's rules in one flavour.
type Tables struct {
	Run     Runner
	Flavour Flavour
	V6      bool
}

// String returns the program that is for the family, and the flavour.
func (t Tables) String() string { return fmt.Sprintf("%s (%s)", t.family(), t.Flavour) }

func (t Tables) family() string {
	if t.V6 {
		return "ip6tables"
	}
	return "iptables"
}

// Read returns all rules. No table is made by reading it.
func (t Tables) Read(ctx context.Context) (Ruleset, error) {
	saved, err := t.Run(ctx, "", t.Flavour.program(t.family(), "-save"))
	if err != nil {
		return nil, fmt.Errorf("read %s rules: %w", t.Flavour, err)
	}
	return Parse(saved), nil
}

// Apply makes the wanted rules, removes what else is the owner's, and returns what it
// changed. Each table changes as a whole or stays as it was, whatever becomes of others.
// After an error it may be called again.
func (t Tables) Apply(ctx context.Context, want Want, o Owner) ([]Edit, error) {
	have, err := t.Read(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range want.tables() {
		if err := have.Unreadable(name); err != nil {
			errs = append(errs, fmt.Errorf("change %s rules: %w", t.Flavour, err))
		}
	}
	edits := Diff(want, have, o)
	if len(edits) == 0 {
		return nil, errors.Join(errs...)
	}
	program, args := t.Flavour.program(t.family(), "-restore"), []string{"--noflush"}
	wait := strconv.Itoa(int(lockTime.Seconds()))
	if t.Flavour.Since162() {
		args = append(args, "--wait="+wait)
	} else {
		program, args = "flock", append([]string{"-w", wait, lockFile, program}, args...)
	}
	var done []Edit
	for _, table := range edits {
		_, err := t.Run(ctx, script(table), program, args...)
		switch {
		case err == nil:
			done = append(done, table...)
		case slices.Contains(want.Optional, table[0].Table) && missing(err):
		default:
			errs = append(errs, fmt.Errorf("change %s rules, first %q: %w", t.Flavour, table[0], err))
		}
	}
	return done, errors.Join(errs...)
}

// missing reports whether the kernel has no such table, in the words of the programs:
// iptables-restore has others than iptables.
func missing(err error) bool {
	return strings.Contains(err.Error(), "unable to initialize table") || strings.Contains(err.Error(), "Table does not exist")
}
