package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"flanneld/subnet/config"
)

// TestScriptsNameNoSubnetToBeLeased looks for subnets that a script writes out, in a
// route or a lease of its own making, while a host may lease the very same: which is
// random, so that such a script fails once in a hundred runs. SubnetMax or SubnetMin in
// the script's configuration keeps the two apart, as does a lease that is there before
// the first host comes up.
func TestScriptsNameNoSubnetToBeLeased(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("%d scripts: %v", len(scripts), err)
	}
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range leasableSubnets(string(text)) {
			t.Errorf("%s: a host may lease a subnet that is named here: %s", path, line)
		}
	}
}

func TestLeasableSubnets(t *testing.T) {
	const mk = "etcdctl mk /coreos.com/network/config "
	for _, test := range []struct {
		name, script string
		found        bool
	}{
		{"inside", mk + `'{"Network":"10.1.0.0/16"}'` + "\nup h1\nroute 10.1.9.0/24", true},
		{"before the configuration", "route 10.1.9.0/24\n" + mk + `'{"Network":"10.1.0.0/16"}'`, true},
		{"in a key", mk + `'{"Network":"10.1.0.0/16"}'` + "\nup h1\netcdctl set /coreos.com/network/subnets/10.1.9.0-24 x", true},
		{"beyond the last", mk + `'{"Network":"10.1.0.0/16","SubnetMax":"10.1.8.0"}'` + "\nup h1\nroute 10.1.9.0/24", false},
		{"the only one", mk + `'{"Network":"10.1.0.0/16","SubnetMin":"10.1.9.0","SubnetMax":"10.1.9.0"}'` + "\nup h1\nroute 10.1.9.0/24", false},
		{"of another length", mk + `'{"Network":"10.1.0.0/16"}'` + "\nup h1\nroute 10.1.0.0/16", false},
		{"reserved", "etcdctl set /coreos.com/network/subnets/10.1.9.0-24 x\n" + mk + `'{"Network":"10.1.0.0/16"}'` + "\nup h1\nroute 10.1.9.0/24", false},
	} {
		if found := leasableSubnets(test.script); len(found) > 0 != test.found {
			t.Errorf("%s: found %q, want some: %v", test.name, found, test.found)
		}
	}
}

var (
	configLine  = regexp.MustCompile(`^etcdctl .*(?:mk|set) /coreos\.com/network/config '(\{.*\})'`)
	leaseLine   = regexp.MustCompile(`^etcdctl .*(?:mk|set)(?: --ttl \d+)? /coreos\.com/network/subnets/|^on \w+ \$\{FLANNELCTL\} lease reserve `)
	namedSubnet = regexp.MustCompile(`\b(\d+\.\d+\.\d+\.\d+)[/-](\d+)\b`)
)

// leasableSubnets returns the lines of a script that name a subnet which a host of it
// may lease by one of its configurations.
func leasableSubnets(script string) []string {
	var ranges []config.Range
	var reserved []netip.Prefix
	var found []string
	lines := strings.Split(script, "\n")
	up := false
	for _, line := range lines {
		if m := configLine.FindStringSubmatch(line); m != nil {
			c, _, err := config.Parse([]byte(m[1]))
			if err == nil && c.V4.Enabled() && c.V4.Min != c.V4.Max {
				ranges = append(ranges, c.V4)
			}
		}
		up = up || strings.HasPrefix(line, "up ")
		if leaseLine.MatchString(line) && !up {
			reserved = append(reserved, subnetsNamed(line)...)
		}
	}
	for _, line := range lines {
		if configLine.MatchString(line) {
			continue
		}
		for _, p := range subnetsNamed(line) {
			leasable := slices.ContainsFunc(ranges, func(r config.Range) bool { return r.Contains(p) })
			if leasable && !slices.ContainsFunc(reserved, p.Overlaps) {
				found = append(found, line)
				break
			}
		}
	}
	return found
}

func subnetsNamed(line string) (named []netip.Prefix) {
	for _, m := range namedSubnet.FindAllStringSubmatch(line, -1) {
		if p, err := netip.ParsePrefix(m[1] + "/" + m[2]); err == nil && p == p.Masked() {
			named = append(named, p)
		}
	}
	return named
}
