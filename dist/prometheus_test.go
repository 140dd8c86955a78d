package dist_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// metricNames returns the names of the metrics that there are.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	golden, err := os.ReadFile("../cmd/internal/status/testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^flanneld_\w+`).FindAllString(string(golden), -1) {
		names[m] = true
	}
	if len(names) < 40 {
		t.Fatalf("there are only %d metrics", len(names))
	}
	return names
}

// Nobody is told by a panel that stays empty, or an alert that never comes.
func TestAlertsAndDashboardUseMetricsThatThereAre(t *testing.T) {
	names := metricNames(t)
	rules, err := os.ReadFile("prometheus/flanneld.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	board, err := os.ReadFile("prometheus/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(board, &d); err != nil || len(d.Panels) < 10 {
		t.Fatalf("the dashboard has %d panels, %v", len(d.Panels), err)
	}
	used := map[string]string{"flanneld.rules.yml": string(rules)}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			used[p.Title] += q.Expr + "\n"
		}
	}
	for where, text := range used {
		found := regexp.MustCompile(`\bflanneld_\w+`).FindAllString(text, -1)
		if len(found) == 0 {
			t.Errorf("%s uses none of our metrics", where)
		}
		for _, name := range found {
			if !names[name] {
				t.Errorf("%s uses %s, which there is not", where, name)
			}
		}
	}
}

// An alert that looks for a value which no series has never comes.
func TestAlertsLookForLabelsThatThereAre(t *testing.T) {
	page, err := os.ReadFile("../cmd/internal/status/testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("prometheus/flanneld.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	selector := regexp.MustCompile(`(?m)\b(flanneld_\w+)\{([^}]*)\}`)
	matcher := regexp.MustCompile(`(\w+)(=~?|!=|!~)"([^"]*)"`)
	there := make(map[string]bool) // metric, label and value
	for _, series := range selector.FindAllStringSubmatch(string(page), -1) {
		for _, m := range matcher.FindAllStringSubmatch(series[2], -1) {
			there[series[1]+" "+m[1]+" "+m[3]] = true
		}
	}
	looked := 0
	for _, s := range selector.FindAllStringSubmatch(string(rules), -1) {
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			for value := range strings.SplitSeq(m[3], "|") {
				if looked++; !there[s[1]+" "+m[1]+" "+value] {
					t.Errorf("%s has no series with %s=%q", s[1], m[1], value)
				}
			}
		}
	}
	if looked < 10 {
		t.Errorf("the alerts look for %d values only", looked)
	}
}

func TestAlertsHaveAPage(t *testing.T) {
	rules, err := os.ReadFile("prometheus/flanneld.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(rules), -1)
	for _, a := range alerts {
		page := "docs/runbooks/" + a[1] + ".md"
		text, err := os.ReadFile(filepath.Join("..", page))
		if err != nil || !strings.HasPrefix(string(text), "# "+a[1]+"\n") || !strings.Contains(string(rules), "runbook_url: "+page+"\n") {
			t.Errorf("%s: its page is not %s: %v", a[1], page, err)
		}
	}
	pages, _ := filepath.Glob("../docs/runbooks/*.md")
	if len(pages) != len(alerts) {
		t.Errorf("there are %d pages for %d alerts", len(pages), len(alerts))
	}
}

func TestAlerts(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed (Debian: prometheus)")
	}
	for _, args := range [][]string{{"check", "rules", "prometheus/flanneld.rules.yml"}, {"test", "rules", "prometheus/flanneld.test.yml"}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
