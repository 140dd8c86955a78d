package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/cmd/internal/doctor"
)

// aReport is one with a result of each kind.
func aReport() *report {
	r := &report{Schema: reportSchema}
	for i, m := range []made{
		{Result: doctor.Result{State: doctor.Pass, Saw: "it runs"}},
		{Result: doctor.Result{State: doctor.Fail, Saw: "it is \x1b[2Joff", More: []string{"and \nmore"}, Remedy: []string{"sysctl -w a=1", "# or not"}, Fix: func() error { return nil }}},
		{Result: doctor.Result{State: doctor.Skip, Saw: "it needs root"}},
		{Result: doctor.Result{State: doctor.Warn, Saw: "soon", Remedy: []string{"reboot"}}},
		{Result: doctor.Result{State: doctor.Pass, Saw: "it is on"}, fixed: true},
	} {
		r.add(i+1, doctor.Check{Name: []string{"one", "two", "three", "four", "five"}[i], About: "it is"}, m)
	}
	return r
}

func TestReportBeginsWithWhatFails(t *testing.T) {
	want := `FAIL   2  two    it is  [2Joff
      and  more
      remedy: sysctl -w a=1
      remedy: # or not
WARN   4  four   soon
      remedy: reboot
SKIP   3  three  it needs root
PASS   1  one    it runs
PASS   5  five   it is on

5 checks, 1 failed, 1 warning, 2 passed, 1 skipped, 1 of them by --fix
hint: flannelctl doctor --fix mends what is safe to mend, such as two
`
	if diff := cmp.Diff(want, string(aReport().text(false))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := string(aReport().text(true)); !strings.HasPrefix(got, "\x1b[1;31mFAIL\x1b[0m   2  two ") || strings.Contains(got, "\x1b[2J") {
		t.Errorf("with colours %q", got)
	}
}

// TestReportHasItsSchema: a field that is gone, or has another name, breaks programs.
func TestReportHasItsSchema(t *testing.T) {
	text, err := json.Marshal(aReport())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	names := func(m any) (all []string) {
		for name := range m.(map[string]any) {
			all = append(all, name)
		}
		slices.Sort(all)
		return all
	}
	checks := got["checks"].([]any)
	for _, tt := range []struct {
		of   any
		want string
	}{
		{got, "checks schema summary time"},
		{got["summary"], "fail fixed pass skip warn"},
		{checks[0], "about name number saw state"},
		{checks[1], "about details fixable name number remedy saw state"},
		{checks[4], "about fixed name number saw state"},
	} {
		if have := strings.Join(names(tt.of), " "); have != tt.want {
			t.Errorf("%s, want %s", have, tt.want)
		}
	}
}

func TestFixLooksAgain(t *testing.T) {
	on, broken := false, errors.New("read-only file system")
	check := func(fix func() error) doctor.Check {
		return doctor.Check{Look: func(context.Context, *doctor.Host) doctor.Result {
			if on {
				return doctor.Result{State: doctor.Pass, Saw: "on"}
			}
			return doctor.Result{State: doctor.Fail, Saw: "off", Fix: fix}
		}}
	}
	d := &doctoring{fix: true}
	if m := d.made(t.Context(), check(func() error { return broken }), new(doctor.Host)); m.State != doctor.Fail || m.fixed || !slices.Contains(m.More, "--fix: read-only file system") {
		t.Errorf("what cannot be mended: %+v", m)
	}
	if m := d.made(t.Context(), check(func() error { on = true; return nil }), new(doctor.Host)); m.State != doctor.Pass || !m.fixed || !slices.Contains(m.More, "before --fix: off") {
		t.Errorf("what can: %+v", m)
	}
	on = false
	d.fix = false
	if m := d.made(t.Context(), check(func() error { t.Error("it was mended unasked"); return nil }), new(doctor.Host)); m.State != doctor.Fail || m.fixed {
		t.Errorf("unasked: %+v", m)
	}
}
