package words

import (
	"strings"
	"testing"
)

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"iface", "iface", 0}, {"ifcae", "iface", 1}, {"kitten", "sitting", 3}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"iface", "iface-regex", "log_dir"}
	for s, want := range map[string]string{"Iface": "iface", "ifcae": "iface", "log-dir": "log_dir", "iface_regexp": "iface-regex", "zzz": "", "if": ""} {
		if got := Nearest(s, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestClipCountsCharacters(t *testing.T) {
	for _, letter := range []string{"x", "ü", "世"} {
		if s := strings.Repeat(letter, 100); Clip(s) != s || Clip(s+letter) != s+"..." {
			t.Errorf("100 of %q: %q, and one more: %q", letter, Clip(s), Clip(s+letter))
		}
	}
}
