package dist_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// image makes one out of nothing but busybox, since no registry can be reached. It is that
// of docs/recipe.md.
const image = `
d=$(mktemp -d); mkdir -p $d/bin $d/www
cp /bin/busybox $d/bin/
for p in sh httpd wget ping; do ln -s busybox $d/bin/$p; done
echo "hello from $(hostname)" >$d/www/index.html
tar -C $d -c . | docker import --change 'CMD ["httpd","-f","-p","80","-h","/www"]' - web:1 >/dev/null
rm -r $d
`

// container is a command that starts a web server.
func container(name string) string {
	return "docker run -d --init --restart=always --name " + name + " web:1 >/dev/null"
}

// container returns the name of the host's web server: docker1 has web1.
func (h *host) container() string { return strings.Replace(h.Name(), "docker", "web", 1) }

// containers starts one web server on each host.
func (f *farm) containers() {
	f.Helper()
	f.each(func(h *host) error { _, err := h.try(image + container(h.container())); return err })
	f.addresses()
}

// addresses learns those of the containers, which Docker chooses anew at its start.
func (f *farm) addresses() {
	f.Helper()
	f.each(func(h *host) error {
		running := "docker inspect -f '{{.State.Running}} {{.State.Pid}} {{.NetworkSettings.IPAddress}}' " + h.container()
		out, err := h.await(time.Minute, running, `^true \d+ 10\.`)
		if err != nil {
			return err
		}
		f := strings.Fields(out)
		h.web, h.address = f[1], f[2]
		return nil
	})
}

// fetch is a command that gets what a host's container serves, in the container of
// another. It enters no more of it than its network: a "docker exec" takes half a
// second of a processor.
func (h *host) fetch(address string) string {
	return "nsenter -t " + h.web + " -n timeout 10 busybox wget -q -O- http://" + address + "/"
}

// reachTime is long, since a machine that also compiles may need seconds for one
// request; that packets flow at once the tests of the daemon show.
const reachTime = 45 * time.Second

// reach has every container fetch from every other host's container.
func (f *farm) reach(within time.Duration) {
	f.Helper()
	f.each(func(h *host) error {
		for _, to := range f.hosts {
			if to == h {
				continue
			}
			if err := h.until(within, h.fetch(to.address), "^hello from "+to.Name()+"$"); err != nil {
				return err
			}
		}
		return nil
	})
}

// kept fails if a host's subnet is another than it was when this was first called,
// or if its Docker has another.
func (f *farm) kept() {
	f.Helper()
	f.each(func(h *host) error {
		subnet, err := h.try(". /run/flannel/subnet.env && echo $FLANNEL_SUBNET")
		if err != nil {
			return err
		}
		if h.subnet == "" {
			h.subnet = subnet
		}
		if subnet != h.subnet {
			return fmt.Errorf("subnet is %s, and was %s", subnet, h.subnet)
		}
		return h.until(30*time.Second, "ip -br addr show docker0", " "+regexp.QuoteMeta(subnet)+"( |$)")
	})
}

// stream is packets on their way from one host's container to another's, a hundred
// in a second.
type stream struct {
	cmd *exec.Cmd
	out bytes.Buffer
	f   *farm
	end time.Time // not before it, so that there are enough packets to tell
}

func (f *farm) ping(from, to *host) *stream {
	f.Helper()
	s := &stream{f: f, end: time.Now().Add(2 * time.Second)}
	s.cmd = from.Command(f.Context(), "nsenter", "-t", from.web, "-n", "ping", "-q", "-i0.01", "-W5", to.address)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		f.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	return s
}

var counts = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// lossless ends the stream. The last packet may be on its way.
func (s *stream) lossless() {
	s.f.Helper()
	sent, received := s.stop()
	if sent < 50 || sent-received > 1 {
		s.f.Fatalf("%d packets were lost of %d", sent-received, sent)
	}
	s.f.Logf("       %d packets sent, %d received", sent, received)
}

// stop ends the stream, of which packets may have been lost.
func (s *stream) stop() (sent, received int) {
	s.f.Helper()
	time.Sleep(max(300*time.Millisecond, time.Until(s.end)))
	// Of the group, not only to nsenter, which waits for ping.
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGINT)
	_ = s.cmd.Wait()
	m := counts.FindStringSubmatch(s.out.String())
	if m == nil {
		s.f.Fatalf("ping printed %s", &s.out)
	}
	_, _ = fmt.Sscan(m[1]+" "+m[2], &sent, &received)
	if strings.Contains(s.out.String(), "duplicates") {
		s.f.Fatalf("packets came twice: %s", &s.out)
	}
	return sent, received
}
