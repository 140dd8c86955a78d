package options

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The manual page and the completion are written by these tests: -update.

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), -update rewrites it:\n%s", file, diff)
	}
}

// roff writes text so that no part of it is taken for a request or an escape.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}

// manual is flanneld(8): what stands in the page, with a list of the flags in it.
func manual(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("testdata/flanneld.8.in")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	group := ""
	for _, s := range live(new(Daemon)) {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, ".SS %s\n", roff(group))
		}
		fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(s.Spelling()), roff(s.About()))
	}
	var old []string
	for _, s := range legacy() {
		old = append(old, `.BR \-\-`+strings.ReplaceAll(s.Name, "-", `\-`)+" ,")
	}
	old[len(old)-1] = strings.TrimSuffix(old[len(old)-1], " ,") + " ."
	return strings.NewReplacer("@FLAGS@\n", b.String(), "@OLD@\n", strings.Join(old, "\n")+"\n").Replace(string(page))
}

func TestManualPage(t *testing.T) {
	page := manual(t)
	golden(t, "../../../dist/man/flanneld.8", page)
	if strings.Contains(page, "\n@") {
		t.Error("something in the page was not filled in")
	}
	for _, file := range []string{"flanneld.8", "subnet.env.5"} {
		if _, err := exec.LookPath("groff"); err != nil {
			break // the pages are plain enough; man complains about them where it is installed
		}
		out, err := exec.Command("groff", "-man", "-ww", "-z", "../../../dist/man/"+file).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", file, err, out)
		}
	}
}

func TestManualPageOfTheSubnetFileNamesItsVariables(t *testing.T) {
	page, err := os.ReadFile("../../../dist/man/subnet.env.5")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ", "FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET"} {
		if !strings.Contains(string(page), "\n.B "+name+"\n") {
			t.Errorf("subnet.env.5 lacks %s", name)
		}
	}
}

// values are those of flags that take one of some words.
func values(name string) string {
	return map[string]string{
		"etcd-api": "auto v2 v3", "peer-filter": "on off", "docker-firewall": "auto off", "lease-lost": "reacquire exit", "log-format": "glog json",
		"udp-offload": "gso gro uso vnet multiqueue priority kernel",
	}[name]
}

// completion is for bash.
func completion() string {
	var words, files, dirs, cases []string
	for _, s := range live(new(Daemon)) {
		word := "--" + s.Name
		if !s.Bool {
			word += "="
		}
		words = append(words, word)
		switch s.Arg {
		case "FILE":
			files = append(files, "--"+s.Name)
		case "DIR":
			dirs = append(dirs, "--"+s.Name)
		}
		if v := values(s.Name); v != "" {
			cases = append(cases, fmt.Sprintf("\t--%s)\n\t\tCOMPREPLY=($(compgen -W '%s' -- \"$word\"))\n\t\treturn\n\t\t;;\n", s.Name, v))
		}
	}
	return fmt.Sprintf(`# Completion of flanneld's flags for bash.
_flanneld() {
	local word=$2 flag=
	COMPREPLY=()
	# "=" is a word of its own for most.
	if [[ $word == = ]]; then
		flag=$3 word=
	elif [[ $3 == = && $COMP_CWORD -ge 2 ]]; then
		flag=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	case $flag in
	'') ;;
	%s)
		COMPREPLY=($(compgen -f -- "$word"))
		return
		;;
	%s)
		COMPREPLY=($(compgen -d -- "$word"))
		return
		;;
	--iface)
		COMPREPLY=($(compgen -W "$(cd /sys/class/net && echo *)" -- "$word"))
		return
		;;
%s	*) return ;;
	esac
	COMPREPLY=($(compgen -W '%s' -- "$word"))
	[[ ${COMPREPLY-} != *= ]] || compopt -o nospace
}
complete -F _flanneld flanneld
`, strings.Join(files, " | "), strings.Join(dirs, " | "), strings.Join(cases, ""), strings.Join(words, " "))
}

// fish and zsh show what a flag is for.
func fishCompletion() string {
	var b strings.Builder
	b.WriteString("# Completion of flanneld's flags for fish.\ncomplete -c flanneld -f\n")
	for _, s := range live(new(Daemon)) {
		value := " -x"
		switch {
		case s.Bool:
			value = ""
		case values(s.Name) != "":
			value = " -x -a '" + values(s.Name) + "'"
		case s.Arg == "FILE":
			value = " -r -F"
		case s.Arg == "DIR":
			value = " -x -a '(__fish_complete_directories)'"
		case s.Name == "iface":
			value = " -x -a '(command ls /sys/class/net)'"
		}
		fmt.Fprintf(&b, "complete -c flanneld -l %s%s -d '%s'\n", s.Name, value, strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s.Help))
	}
	return b.String()
}

func zshCompletion() string {
	var b strings.Builder
	b.WriteString("#compdef flanneld\n# Completion of flanneld's flags for zsh.\n_arguments -S \\\n")
	quote := strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`)
	for _, s := range live(new(Daemon)) {
		action := ":" + s.Arg + ": "
		switch {
		case s.Bool:
			action = ""
		case values(s.Name) != "":
			action = ":" + s.Arg + ":(" + values(s.Name) + ")"
		case s.Arg == "FILE":
			action = ":" + s.Arg + ":_files"
		case s.Arg == "DIR":
			action = ":" + s.Arg + ":_files -/"
		case s.Name == "iface":
			action = ":" + s.Arg + ":_net_interfaces"
		}
		equals := "="
		if s.Bool {
			equals = ""
		}
		fmt.Fprintf(&b, "  '--%s%s[%s]%s' \\\n", s.Name, equals, quote.Replace(s.Help), action)
	}
	b.WriteString("  && return 0\n")
	return b.String()
}

func TestCompletionOfOtherShells(t *testing.T) {
	for file, row := range map[string]struct{ text, shell, check string }{
		"flanneld.fish": {fishCompletion(), "fish", "--no-execute"},
		"_flanneld":     {zshCompletion(), "zsh", "-n"},
	} {
		path := "../../../dist/completion/" + file
		golden(t, path, row.text)
		if _, err := exec.LookPath(row.shell); err != nil {
			t.Logf("%s is not installed: the syntax of %s is not checked", row.shell, file)
			continue
		}
		if out, err := exec.Command(row.shell, row.check, path).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s %s: %v: %s", row.shell, path, err, out)
		}
	}
	if _, err := exec.LookPath("fish"); err == nil {
		out, err := exec.Command("fish", "--no-config", "-c", "source ../../../dist/completion/flanneld.fish; complete -C 'flanneld --peer-filter='").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--peer-filter=off") {
			t.Errorf("fish offers %s, %v", out, err)
		}
	}
}

func TestCompletion(t *testing.T) {
	const file = "../../../dist/completion/flanneld.bash"
	golden(t, file, completion())
	ask := func(words ...string) []string {
		t.Helper()
		last, before := words[len(words)-1], words[len(words)-2]
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "'"+w+"'")
		}
		script := fmt.Sprintf(`. %s; compopt() { :; }; COMP_WORDS=(%s); COMP_CWORD=%d; _flanneld flanneld '%s' '%s'; printf '%%s\n' "${COMPREPLY[@]}"`,
			file, strings.Join(quoted, " "), len(words)-1, last, before)
		cmd := exec.Command("bash", "-uc", script)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || stderr.Len() > 0 {
			t.Fatalf("%v: %v: %s", words, err, &stderr)
		}
		return strings.Fields(string(out))
	}
	all := ask("flanneld", "--")
	for _, s := range live(new(Daemon)) {
		word := "--" + s.Name
		if !s.Bool {
			word += "="
		}
		if !slices.Contains(all, word) {
			t.Errorf("%s is not offered", word)
		}
	}
	for _, row := range []struct {
		words []string
		want  string
	}{
		{[]string{"flanneld", "--peer-f"}, "--peer-filter="},
		{[]string{"flanneld", "--peer-filter", "=", "of"}, "off"},
		{[]string{"flanneld", "--iface", "=", "lo"}, "lo"},
		{[]string{"flanneld", "--log-format", "="}, "glog json"},
		{[]string{"flanneld", "--etcd-api", "=", "v"}, "v2 v3"},
		{[]string{"flanneld", "--lease-lost", "=", ""}, "reacquire exit"},
		{[]string{"flanneld", "--subnet-file", "=", "/etc/hostn"}, "/etc/hostname"},
		{[]string{"flanneld", "--state-dir", "=", "/etc/hostn"}, ""},
		{[]string{"flanneld", "--public-ip", "=", ""}, ""},
	} {
		if got := strings.Join(ask(row.words...), " "); got != row.want {
			t.Errorf("%v completes to %q, want %q", row.words, got, row.want)
		}
	}
}
