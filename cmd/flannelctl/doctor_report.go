package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/cmd/internal/doctor"
	"flanneld/pkg/flagtable"
)

// reportSchema is the version of report's JSON form, which docs/doctor.md describes: fields
// are added, never renamed, removed, or given another meaning.
const reportSchema = 1

// report is what came of all checks.
type report struct {
	Schema  int       `json:"schema"`
	Time    time.Time `json:"time"`
	Summary struct {
		Pass  int `json:"pass"`
		Warn  int `json:"warn"`
		Fail  int `json:"fail"`
		Skip  int `json:"skip"`
		Fixed int `json:"fixed"` // of those that pass
	} `json:"summary"`
	Checks []reported `json:"checks"` // by number
}

// reported is what came of one.
type reported struct {
	Number  int          `json:"number"`
	Name    string       `json:"name"`
	About   string       `json:"about"`
	State   doctor.State `json:"state"`
	Saw     string       `json:"saw"`
	Details []string     `json:"details,omitempty"`
	Remedy  []string     `json:"remedy,omitempty"`
	Fixable bool         `json:"fixable,omitempty"`
	Fixed   bool         `json:"fixed,omitempty"`
}

func (r *report) add(number int, c doctor.Check, m made) {
	switch m.State {
	case doctor.Pass:
		r.Summary.Pass++
	case doctor.Warn:
		r.Summary.Warn++
	case doctor.Fail:
		r.Summary.Fail++
	case doctor.Skip:
		r.Summary.Skip++
	}
	if m.fixed {
		r.Summary.Fixed++
	}
	one := reported{Number: number, Name: c.Name, About: c.About, State: m.State, Saw: plain(m.Saw), Remedy: m.Remedy, Fixable: m.Fix != nil, Fixed: m.fixed}
	for _, line := range m.More {
		one.Details = append(one.Details, plain(line))
	}
	r.Checks = append(r.Checks, one)
}

// order is that in which a person reads results.
func order() []doctor.State {
	return []doctor.State{doctor.Fail, doctor.Warn, doctor.Skip, doctor.Pass}
}

// text is the report for a person: what is wrong first.
func (r *report) text(colour bool) []byte {
	paint := func(s doctor.State) string {
		word := strings.ToUpper(string(s))
		if code := map[doctor.State]string{doctor.Fail: "1;31", doctor.Warn: "33", doctor.Pass: "32"}[s]; colour && code != "" {
			word = "\x1b[" + code + "m" + word + "\x1b[0m"
		}
		return word
	}
	width := 0
	for _, c := range r.Checks {
		width = max(width, len(c.Name))
	}
	w := new(bytes.Buffer)
	for _, state := range order() {
		for _, c := range r.Checks {
			if c.State != state {
				continue
			}
			fmt.Fprintf(w, "%s  %2d  %-*s  %s\n", paint(state), c.Number, width, c.Name, c.Saw)
			for _, line := range c.Details {
				fmt.Fprintf(w, "      %s\n", line)
			}
			for _, line := range c.Remedy {
				fmt.Fprintf(w, "      remedy: %s\n", line)
			}
		}
	}
	s := r.Summary
	fmt.Fprintf(w, "\n%s, %d failed, %s, %d passed, %d skipped", count(len(r.Checks), "check"), s.Fail, count(s.Warn, "warning"), s.Pass, s.Skip)
	if s.Fixed > 0 {
		fmt.Fprintf(w, ", %d of them by --fix", s.Fixed)
	}
	fmt.Fprintln(w)
	if i := slices.IndexFunc(r.Checks, func(c reported) bool { return c.Fixable && !c.Fixed }); i >= 0 {
		fmt.Fprintln(w, "hint: flannelctl doctor --fix mends what is safe to mend, such as "+r.Checks[i].Name)
	}
	return w.Bytes()
}

// coloured reports whether a person sees colours there.
func coloured(w io.Writer, env flagtable.Env) bool {
	f, ok := w.(*os.File)
	if !ok || env["NO_COLOR"] != "" || env["TERM"] == "dumb" || env["TERM"] == "" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
