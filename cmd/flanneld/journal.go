package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"

	"flanneld/subnet"
)

// change is a line of the log that tells of a change of state. Its id is MESSAGE_ID in the
// journal, for ever, whatever becomes of the words; docs/logs.md lists them. Groups named
// subnet and peer are what the line says in words.
type change struct {
	id, name string
	line     *regexp.Regexp
}

func changes() []change {
	line := regexp.MustCompile
	return []change{
		{"b091a246f3f04120b42bae0ca544bc57", "ready", line(`^flannel is ready$`)},
		{"70d21b99b9544c4a97440e8690cdf713", "lease acquired", line(`^Allocated lease \(ip: (?P<subnet>[0-9./]+) `)},
		{"e3a3e5400a584bc2ac91309e33eced55", "lease held", line(`^Lease is held`)},
		{"fd9876c3b44541d79a9fc49d1907ecff", "lease at risk", line(`^Lease is at risk`)},
		{"6648254aaba34f4eb76f818aad416830", "lease expired", line(`^Lease is expired`)},
		{"1569330d279544e6af64837f3bab34e2", "lease in conflict", line(`^Lease is in conflict`)},
		{"63a904d56e204dc095dc7d91afbcf0f9", "lease revoked", line(`^Lease has been revoked`)},
		{"377cbdd95b2f487b8afff04d4af63db9", "peer added", line(`^Subnet added: (?P<subnet>[0-9a-f:./]+) via (?P<peer>[0-9a-f:.]+)$`)},
		{"89be6376ce6f4d28ad66b4dcb8910377", "peer removed", line(`^Subnet removed: (?P<subnet>[0-9a-f:./]+)$`)},
		{"0daf6ce666c7457d8a45b85fea729508", "many peers", line(`^(Subnets added: |Forwarding to the subnets of other hosts: )`)},
		{"2cc4927391064addaa4ed614071a717e", "etcd away", line(`^(Watch of subnet leases failed, etcd unreachable|Error renewing lease)`)},
		{"555c7a89972d48848771905196756ecb", "etcd back", line(`^etcd is back`)},
		{"be3a9496a6874772b4b9230ff6b81511", "datapath failing", line(`^Datapath is not as it should be`)},
		{"9ac0cf67d84b488582c0acf66fd4e946", "datapath in step", line(`^Datapath is in step again`)},
		{"35e5e32161a44590b594a6d613f6ea5f", "datapath repaired", line(`^Others had changed the network state; it was put right`)},
		{"59eeb697fd30484c97b84fcf0fbc787b", "firewall failing", line(`^Firewall is not as it should be`)},
		{"a7b375db009741dca7279781a0e3b58d", "firewall in step", line(`^Firewall is in step again`)},
		{"3f426547f740442199ce75ed5696abb4", "firewall repaired", line(`^Some iptables rules are missing; deleting and recreating rules`)},
	}
}

// journalFields returns what fields a line has in the journal, beside those that systemd gives
// every one.
func journalFields() func(message string, attrs []slog.Attr) map[string]string {
	all := changes()
	return func(message string, attrs []slog.Attr) map[string]string {
		fields := map[string]string{"SYSLOG_IDENTIFIER": "flanneld"}
		for _, a := range attrs {
			switch v := a.Value.Any().(type) {
			case netip.Prefix, subnet.Key:
				if a.Key == "subnet" {
					fields["FLANNEL_SUBNET"] = fmt.Sprint(v)
				}
			case netip.Addr:
				if a.Key == "peer" {
					fields["FLANNEL_PEER"] = v.String()
				}
			}
		}
		for _, c := range all {
			m := c.line.FindStringSubmatch(message)
			if m == nil {
				continue
			}
			fields["MESSAGE_ID"] = c.id
			for i, name := range c.line.SubexpNames() {
				switch name {
				case "subnet":
					fields["FLANNEL_SUBNET"] = m[i]
				case "peer":
					fields["FLANNEL_PEER"] = m[i]
				}
			}
			break
		}
		return fields
	}
}
