package main

import (
	"slices"
	"strings"
)

const (
	envPrefix       = "FLANNELD_"
	defaultStateDir = "/var/lib/flannel"
	defaultPrefix   = "/coreos.com/network"
)

// packagedNames are variables of /etc/sysconfig/flanneld that units of some
// distributions turned into flags, the older names last. They count where neither
// the flag nor its own variable is given.
func packagedNames(flag string) []string {
	switch flag {
	case "etcd-endpoints":
		return []string{"FLANNEL_ETCD_ENDPOINTS", "FLANNEL_ETCD"}
	case "etcd-prefix":
		return []string{"FLANNEL_ETCD_PREFIX", "FLANNEL_ETCD_KEY"}
	}
	return nil
}

// fromEnv returns a flag's value in the environment, and the variable's name;
// empty if there is none.
func fromEnv(env map[string]string, flag string) (name, value string) {
	for _, name := range append([]string{envName(flag)}, packagedNames(flag)...) {
		if value, ok := env[name]; ok {
			return name, value
		}
	}
	return "", ""
}

// envName returns the variable that stands for a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readEnv returns the non-empty variables of environ. Of several with one
// name the first counts, as in os.Getenv.
func readEnv(environ []string) map[string]string {
	seen := make(map[string]string)
	for _, kv := range environ {
		k, v, ok := strings.Cut(kv, "=")
		if _, dup := seen[k]; ok && !dup {
			seen[k] = v
		}
	}
	for k, v := range seen {
		if v == "" {
			delete(seen, k) // empty means unset
		}
	}
	return seen
}

// unknownEnv returns one warning for each FLANNELD_ variable that no flag
// has, sorted. They cannot be errors: the environment may be shared with
// another release's daemon during an upgrade.
func unknownEnv(env map[string]string, table []flagSpec) []string {
	var known, warnings []string
	for _, s := range table {
		known = append(known, envName(s.name))
	}
	for k := range env {
		if !strings.HasPrefix(k, envPrefix) || slices.Contains(known, k) {
			continue
		}
		w := "environment variable " + k + " is unknown and ignored"
		if n := nearest(strings.TrimPrefix(k, envPrefix), flagNames(table)); n != "" {
			w += "; did you mean " + envName(n) + "?"
		}
		warnings = append(warnings, w)
	}
	slices.Sort(warnings)
	return warnings
}

// stateDir applies systemd's STATE_DIRECTORY, which may list several
// directories separated by colons; the first is ours.
func stateDir(env map[string]string) string {
	dir, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":")
	if dir == "" {
		return defaultStateDir
	}
	return dir
}
