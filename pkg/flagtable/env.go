package flagtable

import (
	"slices"
	"strings"

	"flanneld/pkg/words"
)

// Env is the variables of an environment that are not empty: an empty one counts
// as unset.
type Env map[string]string

// ReadEnv takes an environment as in os.Environ. If a name occurs twice, the first
// counts, as in os.Getenv.
func ReadEnv(environ []string) Env {
	env := make(Env)
	for _, kv := range environ {
		k, v, ok := strings.Cut(kv, "=")
		if _, twice := env[k]; ok && !twice {
			env[k] = v
		}
	}
	for k, v := range env {
		if v == "" {
			delete(env, k)
		}
	}
	return env
}

// unknown returns one warning for each variable with the prefix that no flag has,
// sorted. They cannot be errors: the environment may be shared with another
// release's program during an upgrade.
func (env Env) unknown(t Table) []string {
	var known, warnings []string
	for _, f := range t.Flags {
		known = append(known, t.Variable(f.Name))
	}
	for k := range env {
		if !strings.HasPrefix(k, t.Prefix) || slices.Contains(known, k) {
			continue
		}
		w := "environment variable " + k + " is unknown and ignored"
		if n := words.Nearest(strings.TrimPrefix(k, t.Prefix), t.names()); n != "" {
			w += "; did you mean " + t.Variable(n) + "?"
		}
		warnings = append(warnings, w)
	}
	slices.Sort(warnings)
	return warnings
}
