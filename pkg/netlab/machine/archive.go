package machine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
)

// archive is where this machine's apt gets Debian from.
type archive struct {
	codename string // of the release, such as "bookworm"
	mirror   string // URI of the release itself, without its updates
}

// findArchive asks apt, since its sources have more than one format.
func findArchive(ctx context.Context) (archive, error) {
	release, err := os.Open("/etc/os-release")
	if err != nil {
		return archive{}, err
	}
	defer release.Close()
	id, codename := readRelease(release)
	if id != "debian" {
		return archive{}, fmt.Errorf("the machines are Debian, and this one is %q", id)
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--no-release-info",
		"--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return archive{}, fmt.Errorf("list sources of apt: %w", err)
	}
	a, ok := pickArchive(string(out), codename)
	if !ok {
		return archive{}, fmt.Errorf("no source of apt has %s main", codename)
	}
	return a, nil
}

// readRelease reads os-release(5).
func readRelease(r io.Reader) (id, codename string) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		switch value = strings.Trim(value, `"'`); name {
		case "ID":
			id = value
		case "VERSION_CODENAME":
			codename = value
		}
	}
	return id, codename
}

// pickArchive picks the first of apt's index targets that is the release, without
// its updates.
func pickArchive(targets, codename string) (archive, bool) {
	for line := range strings.Lines(targets) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == codename && f[1] == "main" {
			return archive{codename: codename, mirror: f[2]}, true
		}
	}
	return archive{}, false
}

// reach returns nil if the archive has the release.
func (a archive) reach(ctx context.Context) error {
	index, err := url.JoinPath(a.mirror, "dists", a.codename, "Release")
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, index, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s: %s", ErrUnreachable, index, response.Status)
	}
	return nil
}
