package machine

import (
	"strings"
	"testing"
)

func TestPickArchive(t *testing.T) {
	const targets = `bookworm-updates main http://a.example/debian/
bookworm contrib http://a.example/debian/
bookworm main http://b.example/debian/
bookworm main http://c.example/debian/
`
	if a, ok := pickArchive(targets, "bookworm"); !ok || a != (archive{"bookworm", "http://b.example/debian/"}) {
		t.Errorf("picked %v, %v", a, ok)
	}
	if a, ok := pickArchive(targets, "trixie"); ok {
		t.Errorf("picked %v for a release that is not there", a)
	}
}

func TestReadRelease(t *testing.T) {
	id, codename := readRelease(strings.NewReader("NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n# ID=no\n"))
	if id != "debian" || codename != "bookworm" {
		t.Errorf("read %q, %q", id, codename)
	}
}

func TestRecipesHaveNamesOfTheirOwn(t *testing.T) {
	a := archive{codename: "bookworm"}
	seen := make(map[string]bool)
	for _, key := range []string{
		DockerHost().key(a), DockerHost().key(archive{codename: "trixie"}), Recipe{}.key(a),
		Recipe{Packages: []string{"x"}}.key(a), Recipe{Enable: []string{"x"}}.key(a), Recipe{Units: map[string]string{"x": "y"}}.key(a),
		Recipe{Packages: []string{"x"}, Bare: true}.key(a), Docker28().key(a), Docker29().key(a), FreshHost().key(a),
	} {
		if seen[key] {
			t.Errorf("key %s twice", key)
		}
		seen[key] = true
	}
	if DockerHost().key(a) != DockerHost().key(archive{codename: "bookworm", mirror: "elsewhere"}) {
		t.Error("the mirror is part of the key")
	}
}
