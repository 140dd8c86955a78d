package flagtable

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"flanneld/pkg/words"
)

// Env is the variables of an environment that are not empty: an empty one counts
// as unset.
type Env map[string]string

// ReadEnv takes an environment as in os.Environ. If a name occurs twice, the first
// counts, as in os.Getenv.
func ReadEnv(environ []string) Env {
	env := make(Env)
	for _, kv := range slices.Backward(environ) {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	maps.DeleteFunc(env, func(_, value string) bool { return value == "" })
	return env
}

// unknown returns one warning for each variable with the prefix that no flag has,
// sorted. They cannot be errors: the environment may be shared with another
// release's program during an upgrade.
func (e Env) unknown(t Table, fs *pflag.FlagSet) []string {
	known := names(fs)
	var warnings []string
	for k := range e {
		name, ours := strings.CutPrefix(k, t.Prefix)
		if !ours || slices.ContainsFunc(known, func(n string) bool { return t.Variable(n) == k }) {
			continue
		}
		w := "environment variable " + k + " is unknown and ignored"
		if n := words.Nearest(name, known); n != "" {
			w += "; did you mean " + t.Variable(n) + "?"
		}
		warnings = append(warnings, w)
	}
	slices.Sort(warnings)
	return warnings
}
