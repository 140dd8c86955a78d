package main

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// options checks the values one by one and returns the first mistake as a
// usageError that names the flag or variable it came from.
func (v flagValues) options(env map[string]string) (o options, warnings []string, err error) {
	o = options{
		EtcdKeyFile:    v.text("etcd-keyfile"),
		EtcdCertFile:   v.text("etcd-certfile"),
		EtcdCAFile:     v.text("etcd-cafile"),
		EtcdUsername:   v.text("etcd-username"),
		EtcdPassword:   secret(v.text("etcd-password")),
		Iface:          v.list("iface"),
		IfaceRegex:     v.list("iface-regex"),
		IPMasq:         v.bool("ip-masq"),
		MasqPlainPorts: v.bool("ip-masq-fully-random-disable"),
		ForwardRules:   v.bool("iptables-forward-rules"),
		BlackholeRoute: v.bool("ip-blackhole-route"),
		SubnetFile:     v.text("subnet-file"),
		StateDir:       v.text("state-dir"),
		DockerBridge:   v.text("docker-bridge"),
		HealthzIP:      strings.TrimSpace(v.text("healthz-ip")),
		HealthzPort:    v.int("healthz-port"),
		Verbosity:      v.int("v"),
		LogFormat:      v.text("log-format"),
		LeaseLost:      v.text("lease-lost"),
		Fence:          v.bool("fence"),
		TakeOver:       v.bool("take-over"),
	}
	if _, given := v.source["state-dir"]; !given {
		o.StateDir = stateDir(env)
	}
	for _, check := range []func(*options) error{v.checkStore, v.checkAddrs, v.checkFirewall, v.checkPeers, v.checkTimes, v.checkRest} {
		if err := check(&o); err != nil {
			return options{}, nil, err
		}
	}
	warnings = append(warnings, v.checkPassword(&o, env)...)
	tls := o.EtcdCertFile != "" || o.EtcdCAFile != ""
	https := slices.ContainsFunc(o.EtcdEndpoints, func(e string) bool { return strings.HasPrefix(e, "https:") })
	if tls && !https {
		warnings = append(warnings, "the TLS files have no effect: no endpoint of "+v.from("etcd-endpoints")+" is https, so etcd is reached in the clear")
	}
	return o, warnings, nil
}

func (v flagValues) checkStore(o *options) (err error) {
	if o.EtcdEndpoints, err = parseEndpoints(v.text("etcd-endpoints"), v.from("etcd-endpoints")); err != nil {
		return err
	}
	if (o.EtcdCertFile == "") != (o.EtcdKeyFile == "") {
		have, lack := "etcd-certfile", "etcd-keyfile"
		if o.EtcdCertFile == "" {
			have, lack = lack, have
		}
		return usageError{
			Msg:  fmt.Sprintf("%s is given without --%s", v.from(have), lack),
			Hint: "a client certificate needs both; leave both out to use none",
		}
	}
	// etcd v2 cleans key paths by itself, v3 does not.
	o.EtcdPrefix = path.Clean("/" + strings.TrimSpace(v.text("etcd-prefix")))
	if o.EtcdPrefix == "/" {
		return usageError{
			Msg:  v.from("etcd-prefix") + " names no key",
			Hint: "give a key such as /coreos.com/network",
		}
	}
	return nil
}

func (v flagValues) checkAddrs(o *options) (err error) {
	const v4, v6 = 32, 128
	if o.PublicIP, err = v.addr("public-ip", v4); err != nil {
		return err
	}
	if o.PublicIPv6, err = v.addr("public-ipv6", v6); err != nil {
		return err
	}
	if o.IfaceCanReach, err = v.addr("iface-can-reach", 0); err != nil {
		return err
	}
	for _, re := range o.IfaceRegex {
		if _, err := regexp.Compile(re); err != nil {
			return usageError{
				Msg:  fmt.Sprintf("invalid value %q for %s: %v", re, v.from("iface-regex"), err),
				Hint: "give a regular expression such as eth[0-9]+",
			}
		}
	}
	return nil
}

// addr parses the address in the named flag, zero if the flag is empty. bits
// is 32 or 128 to demand a family, or 0 for either.
func (v flagValues) addr(name string, bits int) (netip.Addr, error) {
	s := strings.TrimSpace(v.text(name))
	if s == "" {
		return netip.Addr{}, nil
	}
	hint := "give an IP address"
	switch bits {
	case 32:
		hint = "give an IPv4 address such as 192.0.2.10"
	case 128:
		hint = "give an IPv6 address such as 2001:db8::10"
	}
	a, err := netip.ParseAddr(s)
	a = a.Unmap()
	if err != nil || bits != 0 && a.BitLen() != bits || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
		return netip.Addr{}, usageError{Msg: fmt.Sprintf("invalid value %q for %s", s, v.from(name)), Hint: hint}
	}
	return a, nil
}

func (v flagValues) checkTimes(o *options) error {
	const name = "subnet-lease-renew-margin"
	minutes := v.int(name)
	if minutes < 1 || minutes > 1439 {
		return usageError{
			Msg:  fmt.Sprintf("invalid %s option, out of acceptable range: %s=%d", name, v.from(name), minutes),
			Hint: "give 1 to 1439 minutes",
		}
	}
	o.RenewMargin = time.Duration(minutes) * time.Minute

	d, err := time.ParseDuration(v.text("resync"))
	if err != nil || d < time.Second {
		return usageError{
			Msg:  fmt.Sprintf("invalid value %q for %s", v.text("resync"), v.from("resync")),
			Hint: "give a duration of at least one second, such as 60s or 5m",
		}
	}
	o.Resync = d
	return nil
}

func (v flagValues) checkRest(o *options) error {
	if o.HealthzPort < 0 || o.HealthzPort > 65535 {
		return usageError{
			Msg:  fmt.Sprintf("invalid value %d for %s", o.HealthzPort, v.from("healthz-port")),
			Hint: "give a port, 1 to 65535, or 0 for no health server",
		}
	}
	if o.HealthzPort != 0 && !isHost(o.HealthzIP) {
		return usageError{
			Msg:  fmt.Sprintf("invalid value %q for %s", v.text("healthz-ip"), v.from("healthz-ip")),
			Hint: "give an IP address such as 0.0.0.0 or 127.0.0.1, or a host name",
		}
	}
	if o.LeaseLost != leaseLostReacquire && o.LeaseLost != leaseLostExit {
		return usageError{Msg: fmt.Sprintf("invalid value %q for %s", o.LeaseLost, v.from("lease-lost")), Hint: "give reacquire or exit"}
	}
	if o.LogFormat != "glog" && o.LogFormat != "json" {
		return usageError{Msg: fmt.Sprintf("invalid value %q for %s", o.LogFormat, v.from("log-format")), Hint: "give glog or json"}
	}
	if o.SubnetFile == "" {
		return usageError{Msg: v.from("subnet-file") + " is empty", Hint: "give a path, or leave the flag out"}
	}
	if name := o.DockerBridge; len(name) > 15 || strings.ContainsAny(name, "/: \t") || name == "." || name == ".." {
		return usageError{Msg: fmt.Sprintf("invalid value %q for %s", name, v.from("docker-bridge")), Hint: "give the name of an interface, such as docker0"}
	}
	if o.StateDir == "" {
		return usageError{Msg: v.from("state-dir") + " is empty", Hint: "give a path, or leave the flag out"}
	}
	return nil
}

var hostName = regexp.MustCompile(`^[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*\.?$`)

// isHost reports whether s is what one can listen on: an address, a name whose
// last label is no number, or nothing, which is all addresses.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil || s == "" {
		return true
	}
	last := s[strings.LastIndexByte(strings.TrimSuffix(s, "."), '.')+1:]
	return hostName.MatchString(s) && strings.Trim(last, "0123456789.") != ""
}
