package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// lookForwarding looks at what sysctl says of forwarding: of all interfaces, and of those
// that the overlay's packets pass.
func lookForwarding(_ context.Context, h *Host) Result {
	files := []string{"net/ipv4/ip_forward"}
	for _, link := range []string{h.Status.Underlay.Interface, h.Status.Backend.Device, h.Options.DockerBridge} {
		if link != "" {
			files = append(files, "net/ipv4/conf/"+link+"/forwarding")
		}
	}
	if h.key().V6.IsValid() {
		files = append(files, "net/ipv6/conf/all/forwarding")
	}
	var off []string
	for _, f := range files {
		if kernelValue(f) == "0" {
			off = append(off, f)
		}
	}
	if len(off) == 0 {
		return pass("net.ipv4.ip_forward is %s", kernelValue(files[0]))
	}
	r := fail("%s is 0: no packet of a container leaves this host or comes in", dotted(off[0]))
	fixes := make([]func() error, len(off))
	for i, f := range off {
		if i > 0 {
			r = r.with(dotted(f) + " is 0")
		}
		r = r.mend("sysctl -w " + dotted(f) + "=1")
		fixes[i] = setKernelValue(f, "1")
	}
	r.Fix = all(fixes)
	return r.mend("grep -r forward /etc/sysctl.d /etc/sysctl.conf   # what switches it off at the next boot")
}

// dotted returns the name of a file of /proc/sys as sysctl(8) has it.
func dotted(file string) string {
	dir, name, nested := strings.Cut(file, "/conf/")
	if !nested {
		return strings.ReplaceAll(file, "/", ".")
	}
	link, name, _ := strings.Cut(name, "/")
	// A dot in an interface's name is written as a slash.
	return fmt.Sprintf("%s.conf.%s.%s", strings.ReplaceAll(dir, "/", "."), strings.ReplaceAll(link, ".", "/"), name)
}

// all returns what does everything.
func all(fixes []func() error) func() error {
	return func() error {
		var errs []error
		for _, f := range fixes {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
}
