package main

import (
	"fmt"
	"time"
)

func (v flagValues) checkFirewall(o *options) error {
	const resync, docker = "iptables-resync", "docker-firewall"
	seconds := v.int(resync)
	if seconds < 1 {
		return usageError{Msg: fmt.Sprintf("invalid value %d for %s", seconds, v.from(resync)), Hint: "give 1 or more seconds"}
	}
	o.FirewallResync = time.Duration(seconds) * time.Second
	switch value := v.text(docker); value {
	case "auto", "off":
		o.DockerFirewall = value == "auto"
	default:
		return usageError{Msg: fmt.Sprintf("invalid value %q for %s", value, v.from(docker)), Hint: "give auto or off"}
	}
	return nil
}
