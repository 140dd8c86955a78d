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
		ignored  []string // nil: no line
	}{
		{"nothing", "", vars{}, nil},
		{"plain", "A=1\nB_2=x y=z\n_=\n", vars{"A": "1", "B_2": "x y=z", "_": ""}, nil},
		{"no line end", "A=1\nB=2", vars{"A": "1", "B": "2"}, nil},
		{"last wins", "A=1\nA=2\n", vars{"A": "2"}, nil},
		{"last wins though empty", "A=1\nA=\n", vars{"A": ""}, nil},
		{"CR LF and byte order mark", "\ufeffA=1\r\n\r\nB=\"2\"\r\n", vars{"A": "1", "B": "2"}, nil},
		{"comments", "# A=1\n  # x\nB=1 # c\nC='1' #c\nD=a#b\nE=\"1\"\t#\nF= # c\nG=#c\n",
			vars{"B": "1", "C": "1", "D": "a#b", "E": "1", "F": "", "G": ""}, nil},
		{"export", "export A=1\nexport\tB=2\nexport=3\nexportC=4\n", vars{"A": "1", "B": "2", "export": "3", "exportC": "4"}, nil},
		{"blanks", "  A = 1 \n\tB\t=\t2\t\n", vars{"A": "1", "B": "2"}, nil},
		{"single quotes keep all", `A='a\"$b "c" #'`, vars{"A": `a\"$b "c" #`}, nil},
		{"double quotes and backslashes", `A="a\"b\\c\$d\e` + "\\`" + ` 'x'"`, vars{"A": `a"b\c$d\e` + "` 'x'"}, nil},
		{"nothing is expanded", `A=$B` + "\n" + `C=\n`, vars{"A": "$B", "C": `\n`}, nil},
		{"Docker options", "DOCKER_OPT_BIP=\"--bip=10.1.2.1/24\"\nDOCKER_OPTS=\" --bip=10.1.2.1/24 --mtu=1450\"\n",
			vars{"DOCKER_OPT_BIP": "--bip=10.1.2.1/24", "DOCKER_OPTS": " --bip=10.1.2.1/24 --mtu=1450"}, nil},
		{"an open quote spoils one line", "A=\"x\nB='\nC=1\nD=\"\\\"\n", vars{"C": "1"},
			[]string{"line 1: quote is not closed", "line 2: quote is not closed", "line 4: quote is not closed"}},
		{"text behind a quote", "A=\"1\"2\nB='1' 2\n", vars{},
			[]string{"line 1: text after the closing quote", "line 2: text after the closing quote"}},
		{"bad names", "=1\n1A=2\nA B=3\nA-B=4\nÄ=5\n", vars{},
			[]string{"line 1: bad variable name", "line 2: bad variable name", "line 3: bad variable name", "line 4: bad variable name", "line 5: bad variable name"}},
		{"no assignment", "echo hello\n{\nA=1\n", vars{"A": "1"}, []string{"line 1: no assignment", "line 2: no assignment"}},
		{"binary", "A=\x00\nB=\xff\nC=\x1b[0m\nD=1\n", vars{"D": "1"}, []string{"line 1: not text", "line 2: not text", "line 3: not text"}},
		{"a value may be UTF-8", "A=grün\n", vars{"A": "grün"}, nil},
		{"too long", "A=" + strings.Repeat("x", 16<<10) + "\nB=1\n", vars{"B": "1"}, []string{"line 1: line is too long"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, errs := envfile.Parse([]byte(tt.in))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("variables (-want +got):\n%s", diff)
			}
			var ignored []string
			for _, err := range errs {
				ignored = append(ignored, err.Error())
			}
			if diff := cmp.Diff(tt.ignored, ignored); diff != "" {
				t.Errorf("ignored lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseBoundsErrors(t *testing.T) {
	_, errs := envfile.Parse([]byte(strings.Repeat("junk\n", 1000)))
	if len(errs) != 11 || errs[10].Error() != "990 more lines" {
		t.Errorf("%d errors, the last is %v", len(errs), errs[len(errs)-1])
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"SUBNET=10.1.2.1/24\n", "export A='x\r\n\x00", "A=\"\\\"\"#", "\ufeffA= #", "A=\"x\" #y\nB='z'q", "A=\\", "A=\"\\",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		vars, _ := envfile.Parse(data)
		// What was read is read again from a file that quotes it.
		var file strings.Builder
		escape := strings.NewReplacer(`"`, `\"`, `\`, `\\`, `$`, `\$`, "`", "\\`")
		for name, value := range vars {
			if len(value) > 4<<10 {
				t.Skip("may not fit into a line once quoted")
			}
			fmt.Fprintf(&file, "%s=\"%s\"\n", name, escape.Replace(value))
		}
		again, ignored := envfile.Parse([]byte(file.String()))
		if diff := cmp.Diff(vars, again); diff != "" || len(ignored) > 0 {
			t.Errorf("%v (-first +second):\n%s", ignored, diff)
		}
	})
}
