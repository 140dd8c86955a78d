package machine

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/netlab/labtest"
)

func TestServiceEndsWithAllThatItHasStarted(t *testing.T) {
	r := root(t)
	lab := labtest.New(t)
	host, err := lab.Host("m1", "192.168.1.11/24")
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(*Service) error{
		"stop": func(s *Service) error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			return s.Stop(ctx)
		},
		"kill": (*Service).Kill,
	} {
		dir := t.TempDir()
		s, err := Start(host, r, dir, "sh", "-c", `trap 'echo asked; exit' TERM
setsid sh -c 'mkdir /sys/fs/cgroup/*/below 2>/dev/null; sleep 1000' &
cat /proc/self/net/fib_trie; cat /etc/os-release; touch /etc/x || echo read-only; touch /mnt/shared/up; wait; wait`)
		if err != nil {
			t.Fatal(err)
		}
		for wait := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			if _, err := os.Stat(filepath.Join(dir, "up")); err == nil {
				break
			}
			if time.Since(wait) > 20*time.Second {
				t.Fatalf("%s: it has not run: %s", name, s.Log())
			}
		}
		if err := errors.Join(end(s), s.Kill()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		log := s.Log()
		for _, want := range []string{"192.168.1.11", "ID=debian", "read-only"} {
			if !strings.Contains(log, want) {
				t.Errorf("%s: there is no %q in %s", name, want, log)
			}
		}
		if asked := strings.Contains(log, "asked"); asked != (name == "stop") {
			t.Errorf("%s: it was asked to end: %t", name, asked)
		}
		if left, _ := filepath.Glob("/sys/fs/cgroup/*/" + host.Namespace.Namespace() + "-sh"); len(left) > 0 {
			t.Errorf("%s: control groups are left: %s", name, left)
		}
	}
}

func TestReach(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/debian/dists/there/Release" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	there := archive{codename: "there", mirror: server.URL + "/debian/"}
	if err := there.reach(t.Context()); err != nil {
		t.Error(err)
	}
	if err := (archive{codename: "absent", mirror: there.mirror}).reach(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a release that the archive does not have: %v", err)
	}
	server.Close()
	if err := there.reach(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("an archive that does not answer: %v", err)
	}
}
