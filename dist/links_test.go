package dist_test

import (
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	fence  = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	inline = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	named  = regexp.MustCompile(`(?m)^\[[^\]]+\]: (\S+)`)
	head   = regexp.MustCompile(`(?m)^#+ +(.*)$`)
)

// TestLinksLeadSomewhere follows the links of all documents to files and to
// headings in them. Those to other sites are not followed.
func TestLinksLeadSomewhere(t *testing.T) {
	var documents []string
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../*/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	followed := 0
	for _, name := range documents {
		text := prose(t, name)
		for _, m := range append(inline.FindAllStringSubmatch(text, -1), named.FindAllStringSubmatch(text, -1)...) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := name
			if path != "" {
				target = filepath.Join(filepath.Dir(name), path)
			}
			followed++
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: %v", name, m[1], err)
			} else if anchor != "" && !anchors(prose(t, target))[anchor] {
				t.Errorf("%s: %s: there is no such heading", name, m[1])
			}
		}
		// What is only named must be there, too.
		for _, m := range regexp.MustCompile(`\bdocs/[a-z-]+\.md\b`).FindAllString(text, -1) {
			if _, err := os.Stat(filepath.Join("..", m)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if followed < 30 {
		t.Errorf("found %d links in %v", followed, documents)
	}
}

// TestDocumentsAreListed by what people want to do.
func TestDocumentsAreListed(t *testing.T) {
	index := prose(t, "../docs/README.md")
	documents, _ := filepath.Glob("../docs/*.md")
	for _, name := range documents {
		if base := filepath.Base(name); base != "README.md" && !strings.Contains(index, "("+base+")") {
			t.Errorf("docs/README.md has no link to %s", base)
		}
	}
}

// TestPictureIsOfItsSource looks for all words of the source in the picture: who changes one
// without the other is told here.
func TestPictureIsOfItsSource(t *testing.T) {
	source, err := os.ReadFile("../docs/overlay.dot")
	if err != nil {
		t.Fatal(err)
	}
	picture, err := os.ReadFile("../docs/overlay.svg")
	if err != nil {
		t.Fatal(err)
	}
	labels := regexp.MustCompile(`label="([^"]*)"`).FindAllStringSubmatch(string(source), -1)
	texts := len(regexp.MustCompile(`<text `).FindAll(picture, -1))
	for _, l := range labels {
		for line := range strings.SplitSeq(l[1], `\n`) {
			texts--
			if !strings.Contains(html.UnescapeString(string(picture)), ">"+line+"<") {
				t.Errorf("the picture lacks %q: dot -Tsvg docs/overlay.dot >docs/overlay.svg", line)
			}
		}
	}
	if len(labels) == 0 || texts != 0 {
		t.Errorf("the picture has %d texts more than its source", texts)
	}
}

// prose returns a document without what is shown as it is.
func prose(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return fence.ReplaceAllString(string(text), "")
}

// anchors returns those that GitHub and GitLab give a document's headings.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	for _, m := range head.FindAllStringSubmatch(text, -1) {
		title := inline.ReplaceAllString(m[1], "]")
		found[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, title)] = true
	}
	return found
}

func TestAnchors(t *testing.T) {
	got := anchors("# A `b-c` & [d](e.md)\ntext\n## F_g: 1.2\n")
	if len(got) != 2 || !got["a-b-c--d"] || !got["f_g-12"] {
		t.Errorf("anchors are %v", got)
	}
}

// others are the flags of other programs that the documents name.
var others = map[string]string{
	"docker, dockerd and podman":    "cap-add cap-drop detach device pid privileged read-only security-opt volume allow-direct-routing bip bridge bridge-accept-fwmark change driver env-file firewall-backend gateway init iptables mtu name network opt restart subnet",
	"etcd, flannel-etcd":            "client-cert-auth config-file data-dir discovery-srv enable-v2 experimental-enable-v2v3 quota-backend-bytes trusted-ca-file",
	"etcdctl":                       "backup-dir interactive peer-urls prefix recursive ttl user",
	"systemd":                       "no-block no-pager unit",
	"firewalld":                     "add-interface add-port add-source complete-reload permanent reload zone",
	"iptables":                      "random-fully",
	"tar, sha256sum, gpg, systemd":  "armor check create export-secret-keys ignore-missing strip-components system",
	"curl":                          "unix-socket",
	"nobody: they stand for a name": "etcd- x",
	"earlier builds of this":        "remove-rules",
}

// TestDocumentsNameEveryFlagOfFlannelctl takes the flags from the manual page, which a test holds to
// the program. Those that the daemon has as well may be in the table of the daemon's flags.
func TestDocumentsNameEveryFlagOfFlannelctl(t *testing.T) {
	var text string
	for _, name := range []string{"flannelctl", "doctor", "migrate", "flags"} {
		page, err := os.ReadFile("../docs/" + name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		text += string(page)
	}
	manual, err := os.ReadFile("man/flannelctl.8")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^\.B .*?--([a-z][a-z0-9-]*)`).FindAllStringSubmatch(strings.ReplaceAll(string(manual), `\-`, "-"), -1)
	for _, m := range all {
		named := regexp.MustCompile("--" + m[1] + "[^a-z0-9-]|\n\\| `" + m[1] + "` \\|")
		if !named.MatchString(text) {
			t.Errorf("no page has flannelctl's --%s", m[1])
		}
	}
	if len(all) < 40 {
		t.Errorf("found %d flags", len(all))
	}
}

// TestFlagsInDocumentsExist looks for the flags that the documents name among those that our
// programs have, by their manual pages, which tests hold to the programs.
func TestFlagsInDocumentsExist(t *testing.T) {
	known := map[string]bool{}
	for _, names := range others {
		for name := range strings.FieldsSeq(names) {
			known[name] = true
		}
	}
	flag := regexp.MustCompile(`(?:^|[^-\w])--([a-z][a-z0-9_-]*)`)
	for _, page := range []string{"man/flanneld.8", "man/flannelctl.8"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range flag.FindAllStringSubmatch(strings.ReplaceAll(string(text), `\-`, "-"), -1) {
			known[m[1]] = true
		}
	}
	found := 0
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/*/*.md"} {
		documents, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range documents {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range flag.FindAllStringSubmatch(string(text), -1) {
				if found++; !known[m[1]] {
					t.Errorf("%s: no program has --%s", name, m[1])
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("found %d flags", found)
	}
}
