package status

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flanneld/backend/loop"
)

// page is one in a real browser, which is told what to do by its DevTools protocol over a
// pipe.
type page struct {
	t       *testing.T
	in      *os.File
	out     *bufio.Reader
	session string
	last    int
}

// openPage opens a page as wide as a device of so many CSS pixels has it.
func openPage(t *testing.T, url string, width int, scheme string) *page {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser")
	}
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed (Debian: chromium)")
	}
	read, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{read, write}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = read.Close(), write.Close()
	p := &page{t: t, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = in.Close() // which ends it
		_ = cmd.Wait()
		_ = out.Close()
	})
	var target struct{ TargetID string }
	p.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	p.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p.session = attached.SessionID
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}, nil)
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	p.call("Page.navigate", map[string]any{"url": url}, nil)
	p.until(`document.getElementById("daemon") && document.getElementById("daemon").textContent !== ""`, "true")
	return p
}

// call calls a method, and waits for its result.
func (p *page) call(method string, params, result any) {
	p.t.Helper()
	p.last++
	m := map[string]any{"id": p.last, "method": method, "params": params}
	if p.session != "" {
		m["sessionId"] = p.session
	}
	text, err := json.Marshal(m)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(text, 0)); err != nil {
		p.t.Fatal(method, ": ", err)
	}
	for {
		line, err := p.out.ReadBytes(0)
		if err != nil {
			p.t.Fatal(method, ": ", err)
		}
		var answer struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal(line[:len(line)-1], &answer); err != nil {
			p.t.Fatal(method, ": ", err)
		}
		switch {
		case answer.ID != p.last: // an event
			continue
		case answer.Error != nil:
			p.t.Fatal(method, ": ", answer.Error.Message)
		case result != nil:
			if err := json.Unmarshal(answer.Result, result); err != nil {
				p.t.Fatal(method, ": ", err)
			}
		}
		return
	}
}

// eval returns what an expression is, as text.
func (p *page) eval(expression string) string {
	p.t.Helper()
	var r struct {
		Result           struct{ Value string }
		ExceptionDetails json.RawMessage
	}
	p.call("Runtime.evaluate", map[string]any{"expression": "String(" + expression + ")", "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		p.t.Errorf("%s: %s", expression, r.ExceptionDetails)
	}
	return r.Result.Value
}

// until waits until an expression is what is wanted.
func (p *page) until(expression, want string) {
	p.t.Helper()
	var got string
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if got = p.eval(expression); got == want {
			return
		}
	}
	p.t.Fatalf("%s is %q after a minute, want %q", expression, got, want)
}

// press presses a key.
func (p *page) press(key string, code int) {
	p.t.Helper()
	for _, typ := range []string{"rawKeyDown", "keyUp"} {
		p.call("Input.dispatchKeyEvent", map[string]any{"type": typ, "key": key, "code": key, "windowsVirtualKeyCode": code}, nil)
	}
}

// picture puts one into PICTURES, if that is set.
func (p *page) picture(name string) {
	p.t.Helper()
	dir := os.Getenv("PICTURES")
	if dir == "" {
		return
	}
	var shot struct{ Data string }
	p.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), data, 0o644)
	}
	if err != nil {
		p.t.Error(err)
	}
}

// TestPageOnAPhone: nothing is wider than a phone, and nothing is too small to touch or to read.
func TestPageOnAPhone(t *testing.T) {
	server := httptest.NewServer(pageServer(shown(t, 24)).handler(nil))
	defer server.Close()
	for _, width := range []int{320, 390} {
		for _, scheme := range []string{"light", "dark"} {
			p := openPage(t, server.URL, width, scheme)
			p.picture(fmt.Sprintf("phone-%d-%s", width, scheme))
			if got := p.eval("document.documentElement.scrollWidth"); got != fmt.Sprint(width) {
				t.Errorf("at %d px it is %s px wide", width, got)
			}
			// What sticks out, by its right edge.
			if got := p.eval(`[...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest("thead")).map(e => e.tagName + "." + e.className).join(" ")`); got != "" {
				t.Errorf("at %d px this sticks out: %s", width, got)
			}
			if got := p.eval(`[...document.querySelectorAll("footer a")].filter(e => e.getBoundingClientRect().height < 24).length`); got != "0" {
				t.Errorf("at %d px %s links are lower than 24 px", width, got)
			}
			p.contrast(scheme)
		}
	}
}

// contrast looks at texts: WCAG 2 asks for 4.5 to 1.
func (p *page) contrast(scheme string) {
	p.t.Helper()
	const script = `(() => {
		const channel = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
		const parse = s => s.match(/[\d.]+/g).map(Number);
		const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
		const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
		const bad = new Set();
		for (const e of document.querySelectorAll("body *")) {
			if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || e.closest("svg") || e.offsetParent === null) continue;
			const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
			const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
			if (ratio < 4.5) bad.add(e.tagName + "." + e.className + " " + ratio.toFixed(1));
		}
		return [...bad].join(", ");
	})()`
	if got := p.eval(script); got != "" {
		p.t.Errorf("in %s colours these texts are hard to read: %s", scheme, got)
	}
}

// TestPageByKeyboard goes through the page by the tabulator alone.
func TestPageByKeyboard(t *testing.T) {
	server := httptest.NewServer(pageServer(shown(t, 60)).handler(nil))
	defer server.Close()
	p := openPage(t, server.URL, 1280, "light")
	where := func() string {
		return p.eval(`(document.activeElement.textContent.trim().slice(0, 12) || document.activeElement.tagName) + " " + document.activeElement.matches(":focus-visible")`)
	}
	var seen []string
	for range 5 {
		p.press("Tab", 9)
		seen = append(seen, where())
		if len(seen) == 1 {
			p.until(`document.activeElement.getBoundingClientRect().left >= 0`, "true") // hidden until then
			p.picture("keyboard-skip")
		}
	}
	want := []string{"To the hosts true", "StateSubnetH true", "JSON true", "metrics true", "readiness true"}
	if strings.Join(seen, "|") != strings.Join(want, "|") {
		t.Errorf("the tabulator leads to %q, want %q", seen, want)
	}

	// The link past the head leads to the hosts; the table is scrolled by keys, and stays so when it is drawn anew.
	p.eval(`document.querySelector(".skip").focus()`)
	p.press("Enter", 13)
	p.until(`location.hash`, "#hosts")
	p.press("Tab", 9)
	if got := where(); got != "StateSubnetH true" {
		t.Errorf("behind the link the tabulator leads to %q", got)
	}
	p.press("End", 35)
	p.until(`document.querySelector(".scroll").scrollTop > 100`, "true")
	p.until(`(() => { const s = document.querySelector(".scroll"); return Math.abs(s.scrollHeight - s.clientHeight - s.scrollTop) < 2; })()`, "true")
	p.eval(`window.before = document.querySelector("#peers tr")`)
	p.until(`window.before !== document.querySelector("#peers tr")`, "true")
	if got := p.eval(`document.querySelector(".scroll").scrollTop > 100 && document.activeElement === document.querySelector(".scroll")`); got != "true" {
		t.Error("when it is drawn anew, the table jumps or loses the keyboard")
	}
	p.picture("keyboard-table")
}

// TestPageIsLive: what changes is shown without a reload, and that nobody answers is said.
func TestPageIsLive(t *testing.T) {
	b := shown(t, 3)
	server := httptest.NewServer(pageServer(b).handler(nil))
	defer server.Close()
	p := openPage(t, server.URL, 1280, "dark")
	p.eval(`window.same = true`)
	want(b, 2, 3, 4, 5, 6)
	b.SetTrouble(DockerBridge, "")
	p.until(`document.getElementById("peers").rows.length`, "6") // one is ignored
	p.until(`document.getElementById("parts").textContent.includes("172.17.0.1")`, "false")
	p.until(`document.getElementById("ready").textContent`, "ready, with trouble") // a route is refused
	b.Passed(loop.Pass{Peers: 5, MTU: 1450, Device: "flannel.1", Ready: true})
	b.Complete(one.Key(), 5)
	p.until(`document.getElementById("ready").textContent + " " + document.title`, "ready flanneld 10.1.1.0/24")
	p.until(`document.getElementById("stale").hidden`, "true")
	server.CloseClientConnections()
	server.Close()
	p.until(`document.getElementById("stale").hidden`, "false")
	p.picture("stale-dark")
	if got := p.eval(`window.same + document.getElementById("stale").getAttribute("role")`); got != "truealert" {
		t.Errorf("it was loaded anew, or nobody is told: %s", got)
	}
	p.contrast("dark")
}
