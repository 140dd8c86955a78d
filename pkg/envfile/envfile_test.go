package envfile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/envfile"
)

func TestParse(t *testing.T) {
	type vars = map[string]string
	for _, tt := range []struct {
		name, in string
		want     vars
	}{
		{"nothing", "", vars{}},
		{"plain", "A=1\nB_2=x y=z\n_=\n", vars{"A": "1", "B_2": "x y=z", "_": ""}},
		{"no line end", "A=1\nB=2", vars{"A": "1", "B": "2"}},
		{"last wins", "A=1\nA=2\n", vars{"A": "2"}},
		{"last wins though empty", "A=1\nA=\n", vars{"A": ""}},
		{"CR LF and byte order mark", "\ufeffA=1\r\n\r\nB=\"2\"\r\n", vars{"A": "1", "B": "2"}},
		{"comments", "# A=1\n  # x\nB=1 # c\nC='1' #c\nD=a#b\nE=\"1\"\t#\nF= # c\nG=#c\n",
			vars{"B": "1", "C": "1", "D": "a#b", "E": "1", "F": "", "G": ""}},
		{"export", "export A=1\nexport\tB=2\nexport=3\nexportC=4\n", vars{"A": "1", "B": "2", "export": "3", "exportC": "4"}},
		{"blanks", "  A = 1 \n\tB\t=\t2\t\n", vars{"A": "1", "B": "2"}},
		{"single quotes keep all", `A='a\"$b "c" #'`, vars{"A": `a\"$b "c" #`}},
		{"double quotes and backslashes", `A="a\"b\\c\$d\e` + "\\`" + ` 'x'"`, vars{"A": `a"b\c$d\e` + "` 'x'"}},
		{"nothing is expanded", `A=$B` + "\n" + `C=\n`, vars{"A": "$B", "C": `\n`}},
		{"Docker options", "DOCKER_OPT_BIP=\"--bip=10.1.2.1/24\"\nDOCKER_OPTS=\" --bip=10.1.2.1/24 --mtu=1450\"\n",
			vars{"DOCKER_OPT_BIP": "--bip=10.1.2.1/24", "DOCKER_OPTS": " --bip=10.1.2.1/24 --mtu=1450"}},
		{"an open quote spoils one line", "A=\"x\nB='\nC=1\nD=\"\\\"\n", vars{"C": "1"}},
		{"text behind a quote", "A=\"1\"2\nB='1' 2\n", vars{}},
		{"bad names", "=1\n1A=2\nA B=3\nA-B=4\nÄ=5\n", vars{}},
		{"no assignment", "echo hello\n{\nA=1\n", vars{"A": "1"}},
		{"binary", "A=\x00\nB=\xff\nC=\x1b[0m\nD=1\n", vars{"D": "1"}},
		{"a value may be UTF-8", "A=grün\n", vars{"A": "grün"}},
		{"too long", "A=" + strings.Repeat("x", 16<<10) + "\nB=1\n", vars{"B": "1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, envfile.Parse([]byte(tt.in))); diff != "" {
				t.Errorf("variables (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"SUBNET=10.1.2.1/24\n", "export A='x\r\n\x00", "A=\"\\\"\"#", "\ufeffA= #", "A=\"x\" #y\nB='z'q", "A=\\", "A=\"\\",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		vars := envfile.Parse(data)
		// What was read is read again from a file that quotes it.
		var file strings.Builder
		escape := strings.NewReplacer(`"`, `\"`, `\`, `\\`, `$`, `\$`, "`", "\\`")
		for name, value := range vars {
			if len(value) > 4<<10 {
				t.Skip("may not fit into a line once quoted")
			}
			fmt.Fprintf(&file, "%s=\"%s\"\n", name, escape.Replace(value))
		}
		if diff := cmp.Diff(vars, envfile.Parse([]byte(file.String()))); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
	})
}
