package status

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flanneld/backend"
	"flanneld/backend/loop"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
	"flanneld/subnet/config"

	"golang.org/x/sys/unix"
)

// shown returns a board with hosts in each state, and with text that another host wrote.
func shown(t *testing.T, hosts int) *Board {
	t.Helper()
	b := NewBoard(func(string) {})
	b.Describe("v1.0.0", "/coreos.com/network")
	cfg, _, err := config.Parse([]byte(`{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}}`))
	if err != nil {
		t.Fatal(err)
	}
	b.SetBackend(cfg)
	b.SetPath("kernel")
	b.SetAPI(func() string { return "v3" })
	b.SetUnderlay(backend.Underlay{Name: "eth0", MTU: 1500, V4: netip.MustParseAddr("192.168.1.11")})
	up, wall := subnet.HostClock()
	leased := one
	leased.Expires = wall.Add(23 * time.Hour)
	b.SetLease(subnet.Standing{State: subnet.Held, Lease: leased, Sent: up, Deadline: up + 23*time.Hour})
	var peers []byte
	for n := range hosts {
		if n != 7 { // 10.1.9.0/24 is another's
			peers = append(peers, byte(n+2))
		}
	}
	want(b, peers...)
	b.Passed(loop.Pass{Peers: hosts, MTU: 1450, Device: "flannel.1", Ready: true, Took: time.Millisecond,
		Skipped: []backend.Skip{{Subnet: claim(4).Subnet, Reason: errors.New(`its data <script>document.title="owned"</script> has no VtepMAC`)}},
		Err:     &datapath.ApplyError{Total: 4, Failed: []error{&datapath.OpError{Op: datapath.Op{Object: datapath.Route{Dst: claim(3).Subnet}}, Err: unix.ENETUNREACH}}}})
	b.Complete(one.Key(), hosts)
	b.SetTrouble(DockerBridge, "docker0 has 172.17.0.1/16, which is not this host's subnet 10.1.1.0/24")
	b.SetTrouble(Forwarding, "")
	asked(b, "leases", nil, time.Millisecond)
	now := time.Now()
	b.change(func(time.Time) {
		b.journal.errors.add(Event{Time: now, Level: "error", Text: "<b>Another lease</b> has this host's PublicIP subnet=10.1.9.0/24", Count: 3})
		var rx, tx uint64
		for n := range 40 {
			rx, tx = rx+uint64(n%9)*3_000_000, tx+uint64((n*7)%11)*2_000_000
			b.journal.traffic = append(b.journal.traffic, Sample{Time: now.Add(time.Duration(n-40) * sampleEvery), RxBytes: rx, TxBytes: tx})
		}
	})
	return b
}

func TestPageIsServedStrictly(t *testing.T) {
	s := pageServer(shown(t, 3))
	for path, typ := range map[string]string{"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"} {
		w := httptest.NewRecorder()
		s.handler(nil).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), typ) || w.Header().Get("Content-Security-Policy") != policy {
			t.Errorf("%s: %d, %v", path, w.Code, w.Header())
		}
		for _, outside := range []string{"http://", "https://", "innerHTML", " style=", " onclick="} {
			if strings.Contains(strings.ReplaceAll(w.Body.String(), "http://www.w3.org/2000/svg", ""), outside) {
				t.Errorf("%s has %q", path, outside)
			}
		}
	}
	for _, path := range []string{"/page", "/page/", "/index.html", "/page.go"} {
		w := httptest.NewRecorder()
		if s.handler(nil).ServeHTTP(w, httptest.NewRequest("GET", path, nil)); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func pageServer(b *Board) *Server { return &Server{board: b, log: slog.New(slog.DiscardHandler)} }

// browse opens the page in a real browser and returns its DOM, once it has drawn. A picture
// is put into PICTURES, if that is set.
func browse(t *testing.T, url, name string, args ...string) string {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed (Debian: chromium)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	args = append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--enable-logging=stderr",
		"--user-data-dir=" + t.TempDir(), "--virtual-time-budget=4000"}, args...)
	dom := exec.CommandContext(ctx, browser, append(args, "--dump-dom", url)...)
	var log strings.Builder
	dom.Stderr = &log
	out, err := dom.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "CONSOLE") {
			t.Errorf("the browser complains: %s", line)
		}
	}
	if dir := os.Getenv("PICTURES"); dir != "" {
		picture := exec.CommandContext(ctx, browser, append(args, "--screenshot="+filepath.Join(dir, name+".png"), url)...)
		if out, err := picture.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	return string(out)
}

func TestPageInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	b := shown(t, 24)
	server := httptest.NewServer(pageServer(b).handler(nil))
	defer server.Close()
	for _, row := range []struct {
		name string
		args []string
	}{
		{"wide-light", []string{"--window-size=1280,1500", "--blink-settings=preferredColorScheme=1"}},
		{"phone-dark", []string{"--window-size=500,2600", "--blink-settings=preferredColorScheme=0"}},
	} {
		dom := browse(t, server.URL, row.name, row.args...)
		for _, want := range []string{
			"<title>trouble: flanneld 10.1.1.0/24</title>", ">ready, with trouble</p>", "21 of 23 are forwarded to; 1 refused by the kernel; 1 out of this backend's reach; 1 ignored.",
			"of 255 subnets of 10.1.0.0/16 are leased", "docker0 has 172.17.0.1/16", "&lt;script&gt;", "&lt;b&gt;Another lease&lt;/b&gt;", "B/s in the last",
			`<td class="failed" role="cell">failed</td><td role="cell" data-name="subnet">10.1.3.0/24</td>`, `role="img"`,
		} {
			if !strings.Contains(dom, want) {
				t.Errorf("%s: the page has no %q", row.name, want)
			}
		}
		if strings.Index(dom, `<td class="failed"`) > strings.Index(dom, `<td class="programmed"`) {
			t.Errorf("%s: the worst host is not the first", row.name)
		}
	}
	empty := httptest.NewServer(pageServer(NewBoard(func(string) {})).handler(nil))
	defer empty.Close()
	if dom := browse(t, empty.URL, "empty"); !strings.Contains(dom, ">not ready</p>") || !strings.Contains(dom, "Not known yet.") {
		t.Errorf("a host without anything is drawn as\n%s", dom)
	}
}
