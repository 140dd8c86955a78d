package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/netlab"
	etcdproc "flanneld/subnet/storetest/etcd"
)

const readme = "../../README.md"

var update = flag.Bool("update", false, "rewrite the README's sample")

// sampled are the parts of the transcript that the README has: what begins so, up to an empty
// line, of the part about vxlan; then all from the measurements on.
var sampled = []string{"== vxlan: ", "switch# etcdctl put ", "switch# etcdctl get ", "host1# cat subnet.env", "host1# ip route", "host1/c1# curl "}

// excerpt returns those parts.
func excerpt(transcript string) (string, error) {
	_, shown, _ := strings.Cut(transcript, "\n== vxlan: ")
	shown, _, _ = strings.Cut("== vxlan: "+shown, "\n== ")
	var parts []string
	for _, begin := range sampled {
		at := strings.Index("\n"+shown, "\n"+begin)
		if at < 0 {
			return "", fmt.Errorf("the demo does not print %q", begin)
		}
		part, _, _ := strings.Cut(shown[at:], "\n\n")
		parts = append(parts, strings.TrimRight(part, "\n"))
	}
	at := strings.Index(transcript, "\nmeasuring between ")
	if at < 0 {
		return "", fmt.Errorf("the demo does not measure")
	}
	text := strings.Join(append(parts, strings.TrimSpace(transcript[at:])), "\n\n") + "\n"
	return regexp.MustCompile(`(?m) +$`).ReplaceAllString(text, ""), nil
}

// sample is the README's, with what is around it.
var sample = regexp.MustCompile("(?s)(<!-- make demo -->\n```text\n)(.*?)(```\n)")

var masks = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`10\.100\.\d+`), "10.100.N"},
	{regexp.MustCompile(`"192\.168\.\d+\.\d+"`), "PUBLIC"},
	{regexp.MustCompile(`([0-9a-f]{2}:){5}[0-9a-f]{2}`), "MAC"},
	{regexp.MustCompile(`[0-9a-f]{32}`), "ID"},
	{regexp.MustCompile(`\d+\.\d+ (Gbit/s|ms)`), "N $1"},
	{regexp.MustCompile(`\d+\.\d+ to \d+\.\d+`), "N to N"},
	{regexp.MustCompile(` {2,}`), "  "},
}

// mask leaves of a sample what is the same each time. Where a route is among the others is up
// to the host's subnet.
func mask(s string) string {
	for _, m := range masks {
		s = m.what.ReplaceAllString(s, m.by)
	}
	parts := strings.Split(s, "\n\n")
	for i, part := range parts {
		lines := strings.Split(strings.TrimSpace(part), "\n")
		if strings.HasSuffix(lines[0], "# ip route") {
			slices.Sort(lines[1:])
		}
		parts[i] = strings.Join(lines, "\n")
	}
	return strings.Join(parts, "\n\n")
}

// TestReadmeShowsTheDemo runs `make demo`, all of it, and compares what it prints with the
// README's sample, but for figures. With -update, it puts it there.
func TestReadmeShowsTheDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("takes most of a minute")
	}
	if err := netlab.Supported(); err != nil {
		t.Skip(err)
	}
	for _, program := range []string{string(etcdproc.Debian), "etcdctl", "iperf3", "busybox", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	program := filepath.Join(t.TempDir(), "flanneld")
	if out, err := exec.Command("go", "build", "-o", program, "../flanneld").CombinedOutput(); err != nil {
		t.Fatalf("build flanneld: %v\n%s", err, out)
	}
	var transcript bytes.Buffer
	if err := run(t.Context(), []string{"--flanneld=" + program, "--patience=4"}, io.MultiWriter(&transcript, t.Output())); err != nil {
		t.Fatal(err)
	}
	got, err := excerpt(transcript.String())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	m := sample.FindSubmatch(text)
	if m == nil {
		t.Fatal("the README has no sample")
	}
	if *update {
		text = bytes.Replace(text, m[0], []byte(string(m[1])+got+string(m[3])), 1)
		if err := os.WriteFile(readme, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(mask(string(m[2])), mask(got)); d != "" {
		t.Errorf("the README's sample is another (-README +demo), go test -run TestReadmeShowsTheDemo . -update writes it:\n%s", d)
	}
}

// rates are of a row of the table: the slowest and the fastest round.
var rates = regexp.MustCompile(`(?m)^(\S+) .* (\d+\.\d+) to (\d+\.\d+) `)

// TestReadmeHasNoContainersFasterThanHosts by more than chance.
func TestReadmeHasNoContainersFasterThanHosts(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	most := 0.0
	rows := rates.FindAllSubmatch(sample.Find(text), -1)
	for _, row := range rows {
		var least float64
		if _, err := fmt.Sscan(string(row[2]), &least); err != nil {
			t.Fatal(err)
		}
		switch {
		case string(row[1]) == "none":
			if _, err := fmt.Sscan(string(row[3]), &most); err != nil {
				t.Fatal(err)
			}
		case least > most:
			t.Errorf("containers of %s were never as slow as their hosts' fastest round: measure again", row[1])
		}
	}
	if len(rows) != 4 {
		t.Errorf("the sample's table has %d rows, want 4", len(rows))
	}
}

func TestExcerpt(t *testing.T) {
	before, after := "\n== udp: x\n\nhost1# ip route\nudp's\n", "\n== host-gw: x\n\nhost1# ip route\nother\n\nmeasuring between a and b\n\nrow\n"
	var vxlan, want string
	for _, s := range sampled {
		vxlan += s + " a\nb\n\nhost1# not shown\nc\n\n"
		want += s + " a\nb\n\n"
	}
	got, err := excerpt(before + "\n" + vxlan + after)
	if d := cmp.Diff(want+"measuring between a and b\n\nrow\n", got); d != "" || err != nil {
		t.Errorf("excerpt() (-want +got), error %v:\n%s", err, d)
	}
	for _, lacks := range []string{before + after, before + "\n" + vxlan} {
		if _, err := excerpt(lacks); err == nil {
			t.Errorf("no error for %q", lacks)
		}
	}
	if a, b := mask("10.100.1.0-24 via d2:d9:df:e9:18:5f  21.1 Gbit/s    1.0 to 3.0"), mask("10.100.23.0-24 via d2:d9:df:e9:18:00  1.1 Gbit/s  10.0 to 3.0"); a != b {
		t.Errorf("masked %q and %q", a, b)
	}
}
