package flagtable

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// table has a flag of each kind.
var table = Table{Prefix: "X_", Flags: []Flag{
	{Name: "iface", Arg: "NAME|IP"}, {Name: "public-ip"}, {Name: "etcd-endpoints"}, {Name: "etcd-username"}, {Name: "etcd-password", Dashes: true},
	{Name: "ip-masq", Bool: true}, {Name: "v"}, {Name: "log_dir", Legacy: "is ignored"}, {Name: "help", Bool: true, Instead: true},
}}

func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want map[string][]string
	}{
		{"none", nil, map[string][]string{}},
		{"all spellings", []string{"-iface", "a", "--iface", "b", "-iface=c", "--iface=d"}, map[string][]string{"iface": {"a", "b", "c", "d"}}},
		{"separate verbosity", []string{"-v", "10"}, map[string][]string{"v": {"10"}}},
		{"value with equals sign", []string{"-etcd-password=a=b"}, map[string][]string{"etcd-password": {"a=b"}}},
		{"separate value with a dash", []string{"-etcd-password", "-x=y"}, map[string][]string{"etcd-password": {"-x=y"}}},
		{"empty values", []string{"--iface=", "--public-ip", ""}, map[string][]string{"iface": {""}, "public-ip": {""}}},
		{"booleans", []string{"-ip-masq", "--ip-masq=false"}, map[string][]string{"ip-masq": {"true", "false"}}},
		{"underscores", []string{"-log_dir", "/x"}, map[string][]string{"log_dir": {"/x"}}},
		{"short help hides the rest", []string{"-h", "--bogus"}, map[string][]string{"help": {"true"}}},
		{"nothing after the dashes", []string{"-v=1", "--"}, map[string][]string{"v": {"1"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, warnings, err := arguments(table.flagSet(), tt.args)
			if err != nil || warnings != nil {
				t.Fatal(warnings, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestArgumentErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want Error
	}{
		{"boolean with separate value", []string{"--ip-masq", "false"}, Error{`unexpected argument "false"`, "use --ip-masq=false"}},
		{"positional", []string{"-v", "1", "run"}, Error{`unexpected argument "run"`, "every argument is a flag; write --name=value"}},
		{"positional not right after the boolean", []string{"--ip-masq", "-v=1", "false"}, Error{`unexpected argument "false"`, "every argument is a flag; write --name=value"}},
		{"after the dashes", []string{"--", "--v=1"}, Error{`unexpected argument "--v=1"`, "every argument is a flag; write --name=value"}},
		{"single dash", []string{"-"}, Error{`unexpected argument "-"`, "every argument is a flag; write --name=value"}},
		{"empty", []string{""}, Error{`unexpected argument ""`, "every argument is a flag; write --name=value"}},
		{"three dashes", []string{"---v=1"}, Error{`malformed flag "---v=1"`, "write --name=value"}},
		{"no name", []string{"--=1"}, Error{`malformed flag "--=1"`, "write --name=value"}},
		{"typo", []string{"--etcd-endpoint=x"}, Error{"unknown flag --etcd-endpoint", "did you mean --etcd-endpoints?"}},
		{"case", []string{"--Iface=x"}, Error{"unknown flag --Iface", "did you mean --iface?"}},
		{"dashes for underscores", []string{"--log-dir=x"}, Error{"unknown flag --log-dir", "did you mean --log_dir?"}},
		{"abbreviation", []string{"--etcd-user=x"}, Error{"unknown flag --etcd-user", "--help lists all flags"}},
		{"glued verbosity", []string{"-v10"}, Error{"unknown flag --v10", "use -v=10"}},
		{"far from anything", []string{"--zzzzzz"}, Error{"unknown flag --zzzzzz", "--help lists all flags"}},
		{"value missing", []string{"--iface"}, Error{"flag --iface has no value", "write --iface=NAME|IP"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := arguments(table.flagSet(), tt.args)
			var got Error
			if !errors.As(err, &got) {
				t.Fatalf("error %v, want a Error", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}
