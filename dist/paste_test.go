package dist_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// pasteTime is for one block: it may install a Docker on every host at once.
const pasteTime = 3 * time.Minute

// terminal is a root's interactive shell, into which blocks are pasted. Its variables stay. A
// program that reads its standard input reads what has been pasted after it.
type terminal struct {
	in    io.WriteCloser
	lines chan string // what it prints, and its programs
}

// Marks in what a shell prints: that a command has failed, and that it waits for a line.
const (
	failed = "@@failed@@"
	prompt = "@@prompt@@"
)

// interactive is the command of such a shell: script gives it a terminal, which echoes nothing.
func interactive() []string {
	return []string{"script", "--quiet", "--echo", "never", "--command", "bash --noprofile --norc --noediting -i", "/dev/null"}
}

// newTerminal starts one by the command, which is interactive or something that runs that.
func newTerminal(cmd *exec.Cmd) (*terminal, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &terminal{in: in, lines: make(chan string, 1000)}
	go func() {
		for scan := bufio.NewScanner(out); scan.Scan(); {
			s.lines <- strings.TrimRight(scan.Text(), "\r")
		}
		_ = cmd.Wait()
		close(s.lines)
	}()
	// A command whose failure somebody looks at (if, ||, !) is not trapped.
	_, err = s.paste(context.Background(), fmt.Sprintf("PS1='%[1]s\\n' PS2='%[1]s\\n'\ntrap 'echo \"%[2]s $? $BASH_COMMAND\"' ERR\ncd\n", prompt, failed), "")
	return s, err
}

// paste pastes text, types what its last line asks for, and returns what is printed. The error
// says which command failed, or that not all of the text was run: the shell asks for another
// line as often as it has got one, and a program that has eaten one does not.
func (s *terminal) paste(ctx context.Context, text, typed string) (string, error) {
	if _, err := io.WriteString(s.in, text+typed); err != nil {
		return "", err
	}
	left := strings.Count(text, "\n")
	var printed []string
	var wrong []string
	for left > 0 {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return strings.Join(printed, "\n"), errors.New("the shell has ended")
			}
			// What is printed before that may lack an end of its line.
			line, asks := strings.CutSuffix(line, prompt)
			line, what, fails := strings.Cut(line, failed)
			if asks {
				left--
			}
			if line != "" || !asks && !fails {
				printed = append(printed, line)
			}
			switch {
			case fails:
				wrong = append(wrong, "failed with"+what)
			case refused.MatchString(line):
				wrong = append(wrong, line)
			}
		case <-ctx.Done():
			return strings.Join(printed, "\n"), fmt.Errorf("it did not come to its end: %w", ctx.Err())
		}
	}
	if wrong != nil {
		return strings.Join(printed, "\n"), errors.New(strings.Join(wrong, "; "))
	}
	return strings.Join(printed, "\n"), nil
}

// close ends the shell.
func (s *terminal) close() {
	_, _ = io.WriteString(s.in, "exit\n") // if it fails, the shell has ended
	for range s.lines {
	}
}

// refused is what the shell itself says of what it does not understand, for which it has no trap.
var refused = regexp.MustCompile(`^-?bash: `)

func TestTerminal(t *testing.T) {
	s, err := newTerminal(exec.CommandContext(t.Context(), interactive()[0], interactive()[1:]...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	for _, row := range []struct{ name, text, typed, want, err string }{
		{name: "a variable", text: "A=1\n"},
		{name: "stays", text: "echo $A\n", want: "1"},
		{name: "a command fails, the next one runs", text: "false\necho b\n", want: "b", err: "failed with 1 false"},
		{name: "a failure that is looked at", text: "false || echo c\n", want: "c"},
		{name: "a comment", text: "echo d   # e\n", want: "d"},
		{name: "several lines", text: "cat <<END\n$A\nEND\n", want: "1"},
		{name: "a question is answered", text: "read -p 'which? ' B\n", typed: "f\n", want: "which? "},
		{name: "by what was typed", text: "echo $B\n", want: "f"},
		{name: "what an interactive shell does to a !", text: "echo \"hello!you\"\n", err: "event not found"},
		{name: "no command of that name", text: "no-such-command\n", err: "command not found"},
	} {
		got, err := s.paste(t.Context(), row.text, row.typed)
		if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: error %v, want %q", row.name, err, row.err)
		}
		if err == nil && got != row.want || !strings.Contains(got, row.want) {
			t.Errorf("%s: printed %q, want %q", row.name, got, row.want)
		}
	}
	// A program that eats what comes after it.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, err := s.paste(ctx, "cat >/dev/null\necho never\n", ""); err == nil {
		t.Errorf("a program has eaten the block, which printed %q", got)
	}
}

// pasting is a page on its way into the shells of a farm's hosts, block by block.
type pasting struct {
	f      *farm
	name   string
	blocks []block // that are left
	// typed is what the reader types at a block's end, by the name of what it asks for.
	typed map[string]string
	// printed is what the last block has printed on its last host.
	printed string
}

func (f *farm) page(name string) *pasting {
	f.Helper()
	return &pasting{f: f, name: name, blocks: blocksOf(f.T, name), typed: make(map[string]string)}
}

// upTo pastes the next blocks, up to that with this text.
func (p *pasting) upTo(text string) {
	p.f.Helper()
	n := 1 + slices.IndexFunc(p.blocks, func(b block) bool { return strings.Contains(b.text, text) })
	if n == 0 {
		p.f.Fatalf("%s has no block with %q, or not here", p.name, text)
	}
	for _, b := range p.blocks[:n] {
		p.paste(b)
	}
	p.blocks = p.blocks[n:]
}

// end closes the shells, for which a host that is switched off would wait, and fails the test if
// there are blocks that were not pasted.
func (p *pasting) end() {
	p.f.Helper()
	for _, h := range p.f.hosts {
		if h.terminal != nil {
			h.terminal.close()
			h.terminal = nil
		}
	}
	for _, b := range p.blocks {
		p.f.Errorf("%s, line %d: a block that is not pasted", p.name, b.line)
	}
}

// paste pastes a block on its hosts, at once.
func (p *pasting) paste(b block) {
	p.f.Helper()
	hosts := slices.DeleteFunc(slices.Clone(p.f.hosts), func(h *host) bool {
		return !slices.Contains(b.hosts, "each") && !slices.Contains(b.hosts, h.Name())
	})
	if len(hosts) == 0 || len(hosts) < len(b.hosts) {
		p.f.Fatalf("%s, line %d: there are not all of the hosts %v", p.name, b.line, b.hosts)
	}
	var typed string
	if m := asks.FindStringSubmatch(b.text); m != nil {
		if typed = p.typed[m[1]] + "\n"; typed == "\n" {
			p.f.Fatalf("%s, line %d: nobody knows %s", p.name, b.line, m[1])
		}
	}
	p.f.at(hosts, func(h *host) error {
		out, err := h.paste(b, typed)
		if err != nil {
			return fmt.Errorf("%s, line %d: %w\n%s\nprinted\n%s", p.name, b.line, err, b.text, out)
		}
		if h == hosts[len(hosts)-1] {
			p.printed = out
		}
		return nil
	})
}

// asks is a block's last line that asks the reader for something.
var asks = regexp.MustCompile(`(?m)^read -r?s?p .* ([A-Z0-9]+)\n\z`)

// sampleTime is how long a page may be ahead of the hosts: a block whose output it shows is
// pasted again until it is so.
const sampleTime = 30 * time.Second

func (h *host) paste(b block, typed string) (out string, err error) {
	ctx, cancel := context.WithTimeout(h.t.Context(), pasteTime)
	defer cancel()
	if h.terminal == nil {
		// Of a root's own, as by "sudo -i" or at the console.
		if h.terminal, err = newTerminal(h.Command(h.t.Context(), interactive()[0], interactive()[1:]...)); err != nil {
			return "", err
		}
	}
	match := like(b.sample)
	for end := time.Now().Add(sampleTime); ; {
		out, err = h.terminal.paste(ctx, b.text, typed)
		if err != nil || b.sample == "" || match.MatchString(out) {
			return out, err
		}
		if time.Now().After(end) {
			return out, fmt.Errorf("after %s it has not printed\n%s", sampleTime, b.sample)
		}
		time.Sleep(500 * time.Millisecond)
	}
}
