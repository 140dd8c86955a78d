package main

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNormalizeArgs(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"none", nil, nil},
		{"all spellings", []string{"-iface", "a", "--iface", "b", "-iface=c", "--iface=d"}, []string{"--iface=a", "--iface=b", "--iface=c", "--iface=d"}},
		{"separate verbosity", []string{"-v", "10"}, []string{"--v=10"}},
		{"value with equals sign", []string{"-etcd-password=a=b"}, []string{"--etcd-password=a=b"}},
		{"separate value with a dash", []string{"-etcd-password", "-x=y"}, []string{"--etcd-password=-x=y"}},
		{"empty values", []string{"--iface=", "--public-ip", ""}, []string{"--iface=", "--public-ip="}},
		{"booleans", []string{"-ip-masq", "--ip-masq=false"}, []string{"--ip-masq=true", "--ip-masq=false"}},
		{"underscores", []string{"-log_dir", "/x"}, []string{"--log_dir=/x"}},
		{"short help hides the rest", []string{"-h", "--bogus"}, []string{"--help=true"}},
		{"nothing after the dashes", []string{"-v=1", "--"}, []string{"--v=1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, warnings, err := normalizeArgs(tt.args, flagTable())
			if err != nil || warnings != nil {
				t.Fatal(warnings, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNormalizeArgsErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want usageError
	}{
		{"boolean with separate value", []string{"--ip-masq", "false"}, usageError{`unexpected argument "false"`, "use --ip-masq=false"}},
		{"positional", []string{"-v", "1", "run"}, usageError{`unexpected argument "run"`, "every argument is a flag; write --name=value"}},
		{"positional not right after the boolean", []string{"--ip-masq", "-v=1", "false"}, usageError{`unexpected argument "false"`, "every argument is a flag; write --name=value"}},
		{"after the dashes", []string{"--", "--v=1"}, usageError{`unexpected argument "--v=1"`, "every argument is a flag; write --name=value"}},
		{"single dash", []string{"-"}, usageError{`unexpected argument "-"`, "every argument is a flag; write --name=value"}},
		{"empty", []string{""}, usageError{`unexpected argument ""`, "every argument is a flag; write --name=value"}},
		{"three dashes", []string{"---v=1"}, usageError{`malformed flag "---v=1"`, "write --name=value"}},
		{"no name", []string{"--=1"}, usageError{`malformed flag "--=1"`, "write --name=value"}},
		{"typo", []string{"--etcd-endpoint=x"}, usageError{"unknown flag --etcd-endpoint", "did you mean --etcd-endpoints?"}},
		{"case", []string{"--Iface=x"}, usageError{"unknown flag --Iface", "did you mean --iface?"}},
		{"dashes for underscores", []string{"--log-dir=x"}, usageError{"unknown flag --log-dir", "did you mean --log_dir?"}},
		{"abbreviation", []string{"--etcd-user=x"}, usageError{"unknown flag --etcd-user", "--help lists all flags"}},
		{"glued verbosity", []string{"-v10"}, usageError{"unknown flag --v10", "use -v=10"}},
		{"far from anything", []string{"--zzzzzz"}, usageError{"unknown flag --zzzzzz", "--help lists all flags"}},
		{"value missing", []string{"--iface"}, usageError{"flag --iface has no value", "write --iface=NAME|IP"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := normalizeArgs(tt.args, flagTable())
			var got usageError
			if !errors.As(err, &got) {
				t.Fatalf("error %v, want a usageError", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSwallowedFlagWarns(t *testing.T) {
	o, warnings, err := parseOptions([]string{"--iface", "--ip-masq"}, nil)
	if err != nil || len(warnings) != 1 || o.IPMasq || len(o.Iface) != 1 {
		t.Errorf("iface %q, masq %v, warnings %q, error %v", o.Iface, o.IPMasq, warnings, err)
	}
}

func TestEditDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"iface", "iface", 0}, {"ifcae", "iface", 2}, {"kitten", "sitting", 3}} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
