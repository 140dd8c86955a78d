package host

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"flanneld/cmd/internal/status"
	"flanneld/pkg/backoff"
	"flanneld/pkg/datapath/kernel"
	"flanneld/pkg/logonce"
	"flanneld/pkg/netif"
)

// Problem is what is wrong with the host, and what an operator can do about it. The zero
// Problem: nothing is.
type Problem struct{ What, Remedy string }

// checkEvery is the time between two checks. Docker makes its bridge long after us, and
// changes it when it is restarted.
const checkEvery = 5 * time.Second

// Watch checks what the overlay depends on and is not ours, once Docker was told
// something, until ctx is done, and then returns nil: Docker's bridge, if it has a name,
// and if need be the kernel's forwarding. It tells the Board what is wrong, and logs it
// once, and when it is gone. It mends neither: somebody may have meant it.
func Watch(ctx context.Context, d *Docker, bridge string, forward bool) error {
	ofBridge := problemLog{log: d.Log, found: "Docker does not use this host's subnet as it should: ", gone: "Docker's bridge is as it should be"}
	off := forwarding{path: "/proc/sys/net/ipv4/ip_forward", log: problemLog{log: d.Log,
		found: "The kernel does not forward packets: ", gone: "The kernel forwards packets again"}}
	for backoff.Sleep(ctx, checkEvery) == nil {
		told := d.Told()
		if told == (Handover{}) {
			continue
		}
		if bridge != "" {
			// What was found stays while Docker makes the bridge, or removes it.
			if p, err := CheckBridge(bridge, d.SubnetFile, told); err == nil {
				ofBridge.report(p)
			}
		}
		d.Board.SetTrouble(status.DockerBridge, ofBridge.line.Text())
		if forward {
			d.Board.SetTrouble(status.Forwarding, off.check().What)
		}
	}
	return nil
}

// CheckBridge says why containers on Docker's bridge cannot be reached, or not with
// large packets. A bridge that does not exist is a problem only if Docker cannot make it;
// one that has no address yet is none. An error says that the bridge cannot be read, as
// while Docker makes it.
func CheckBridge(name, subnetFile string, told Handover) (Problem, error) {
	large, err := kernel.LargePorts(name, told.MTU)
	if err != nil {
		return Problem{}, err
	}
	if large == nil {
		return checkRefused(name, DaemonJSON, subnetFile), nil
	}
	addrs, err := netif.Prefixes(name)
	if err != nil {
		return Problem{}, err
	}
	return checkBridge(name, addrs, large, told), nil
}

// checkBridge judges a bridge by its addresses and by the MTU, in bytes, of each of its
// ports that has too large a one. Its own MTU means nothing: it follows its ports'.
func checkBridge(name string, addrs []netip.Prefix, large map[string]int, told Handover) Problem {
	subnet, mtu := told.Key.V4, told.MTU
	addrs = slices.DeleteFunc(addrs, func(p netip.Prefix) bool { return !p.Addr().Is4() })
	if len(addrs) == 0 {
		return Problem{}
	}
	if !slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Masked() == subnet }) {
		first := netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
		return Problem{fmt.Sprintf("%s has %s, which is not this host's subnet %s", name, addrs[0], subnet),
			fmt.Sprintf("restart Docker with what the subnet file says (--bip=%s --mtu=%d), or name the bridge that has it with --docker-bridge", first, mtu)}
	}
	var ports []string
	for port, has := range large {
		ports = append(ports, fmt.Sprintf("%s %d", port, has))
	}
	if len(ports) == 0 {
		return Problem{}
	}
	what := fmt.Sprintf("a container on %s has", name)
	if len(ports) > 1 {
		what = fmt.Sprintf("%d containers on %s have", len(ports), name)
	}
	return Problem{fmt.Sprintf("%s an MTU above the overlay's %d (%s)", what, mtu, slices.Min(ports)),
		fmt.Sprintf("restart Docker with --mtu=%d, and make the containers anew", mtu)}
}

// forwarding checks whether the kernel passes packets on from one interface to another.
// Docker switches that on when it makes its bridge, and does not look again.
type forwarding struct {
	path string
	log  problemLog
	off  int // how many checks in a row have found it off
}

// patience is the number of checks in a row that find forwarding off before that is a
// problem: Docker may be about to switch it on.
const patience = 2

func (f *forwarding) check() (p Problem) {
	text, err := os.ReadFile(f.path)
	if f.off++; err != nil || strings.TrimSpace(string(text)) != "0" {
		f.off = 0
	}
	if f.off >= patience {
		p = Problem{"net.ipv4.ip_forward is 0, so that no packet of a container leaves this host or comes in",
			"sysctl -w net.ipv4.ip_forward=1, and find out what switched it off, such as a file in /etc/sysctl.d"}
	}
	f.log.report(p)
	return p
}

// problemLog logs when one check finds something else than before.
type problemLog struct {
	log         *slog.Logger
	found, gone string // sentences; the problem follows the first
	line        logonce.Line
}

func (l *problemLog) report(p Problem) {
	switch changed := l.line.Changed(p.What); {
	case changed && p.What != "":
		l.log.Warn(l.found+p.What, "hint", p.Remedy)
	case changed:
		l.log.Info(l.gone)
	}
}
