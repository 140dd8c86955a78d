package main

import (
	"log/slog"
	"os"
	"strings"
)

// ipForward says whether the kernel passes packets on from one interface to another.
// Docker switches it on when it makes its bridge, and does not look again.
const ipForward = "/proc/sys/net/ipv4/ip_forward"

// forwardingCheck says once that the kernel forwards nothing, and when it does. It is
// not switched on: somebody may have meant it.
type forwardingCheck struct {
	path string
	log  *slog.Logger
	off  int // how often in a row
}

// forwardingPatience is how often forwarding is found off before it is said: Docker may just be
// about to switch it on.
const forwardingPatience = 2

// look returns what is wrong; empty: nothing.
func (c *forwardingCheck) look() string {
	text, err := os.ReadFile(c.path)
	if err != nil || strings.TrimSpace(string(text)) != "0" {
		if c.off >= forwardingPatience {
			c.log.Info("The kernel forwards packets again")
		}
		c.off = 0
		return ""
	}
	if c.off++; c.off < forwardingPatience {
		return ""
	}
	const what = "net.ipv4.ip_forward is 0, so that no packet of a container leaves this host or comes in"
	if c.off == forwardingPatience {
		c.log.Warn("The kernel does not forward packets: "+what, "hint", "sysctl -w net.ipv4.ip_forward=1, and find out what switched it off, such as a file in /etc/sysctl.d")
	}
	return what
}
