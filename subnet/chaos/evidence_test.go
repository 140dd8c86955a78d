package chaos

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// dirVar names a directory in which each run that fails leaves what it has shown,
// in a directory of its own. Without it that goes with the test, unless it has
// -artifacts.
const dirVar = "CHAOSDIR"

// leave returns where a test leaves what it has shown.
func leave(t testing.TB) string {
	t.Helper()
	dir := os.Getenv(dirVar)
	if dir == "" {
		return t.ArtifactDir()
	}
	name := strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	dir = filepath.Join(dir, name+"-"+time.Now().Format("20060102-150405.000"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Error(err)
		return t.ArtifactDir()
	}
	return dir
}

// evidence is all that was recorded in a run. It can be judged again.
type evidence struct {
	Events []event
	Notes  []note
}

func (e evidence) save(t testing.TB, dir string) {
	t.Helper()
	text, err := json.Marshal(e)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "run.json"), text, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

func load(t testing.TB, name string) evidence {
	t.Helper()
	var e evidence
	text, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// againVar names a run.json of an earlier run.
const againVar = "CHAOSAGAIN"

// What was found once is judged again: after the checks have changed, say.
func TestJudgeAgain(t *testing.T) {
	name := os.Getenv(againVar)
	if name == "" {
		t.Skip(againVar + " names no run.json that a run has left")
	}
	load(t, name).judge(t, filepath.Dir(name))
}
