package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// options checks the values one by one and returns the first mistake, which
// names the flag or variable it came from.
func (v values) options(local func() ([]netip.Addr, error)) (o options, warnings []string, err error) {
	o = options{
		DataDir:       v.text["data-dir"],
		Name:          v.text["name"],
		Token:         v.text["initial-cluster-token"],
		SnapshotCount: uint64(v.number("snapshot-count")),
		QuotaBytes:    v.number("quota-backend-bytes"),
		NoFsync:       v.text["unsafe-no-fsync"] == "true",
		LogLevel:      v.text["log-level"],
		LogFormat:     v.text["log-format"],
	}
	if o.ClientTLS, err = v.tls("", false); err != nil {
		return options{}, nil, err
	}
	if o.PeerTLS, err = v.tls("peer-", true); err != nil {
		return options{}, nil, err
	}
	for _, check := range []func(*options) error{
		v.checkClients, func(o *options) error { return v.checkMembers(o, local) }, v.checkTiming, v.checkRest,
	} {
		if err := check(&o); err != nil {
			return options{}, nil, err
		}
	}
	if n := len(o.Members); n%2 == 0 {
		warnings = append(warnings, fmt.Sprintf("%d members bear the loss of no more of them than %d do; use one, three or five", n, n-1))
	}
	if o.NoFsync {
		warnings = append(warnings, v.from("unsafe-no-fsync")+": a power failure loses data")
	}
	return o, warnings, nil
}

// tls reads three flags. All are needed if so said, since a member is server and
// client at once.
func (v values) tls(prefix string, all bool) (tlsFiles, error) {
	cert, key, ca := prefix+"cert-file", prefix+"key-file", prefix+"trusted-ca-file"
	t := tlsFiles{Cert: v.text[cert], Key: v.text[key], CA: v.text[ca]}
	need := []string{cert, key}
	if all || t.CA != "" {
		need = append(need, ca)
	}
	for _, have := range []string{cert, key, ca} {
		for _, lack := range need {
			if v.text[have] != "" && v.text[lack] == "" {
				return tlsFiles{}, usageError{
					Msg:  fmt.Sprintf("%s is given without --%s", v.from(have), lack),
					Hint: "give --" + strings.Join(need, ", --") + ", or none of them",
				}
			}
		}
	}
	return t, nil
}

func (v values) checkClients(o *options) (err error) {
	const listen, advertise = "listen-client-urls", "advertise-client-urls"
	if o.Clients, err = parseURLs(v.text[listen], v.from(listen), true); err != nil {
		return err
	}
	if err := scheme(o.Clients, o.ClientTLS, v.from(listen), "--cert-file and --key-file"); err != nil {
		return err
	}
	if v.text[advertise] == "" {
		o.Advertise = slices.Clone(o.Clients)
		for i := range o.Advertise { // clients need an address; this host's own always has that one
			o.Advertise[i].Host = reachable(o.Advertise[i].Host)
		}
		return nil
	}
	o.Advertise, err = parseURLs(v.text[advertise], v.from(advertise), false)
	return err
}

func (v values) checkTiming(o *options) error {
	const heartbeat, election = "heartbeat-interval", "election-timeout"
	ms := v.number(heartbeat)
	if ms == 0 {
		ms = 20 // one member hears itself at once: measured, it then starts in a fifth of a second
		if len(o.Members) > 1 || o.Join {
			ms = 100 // etcd's own default, for networks that are slow at times
		}
	}
	elect := v.number(election)
	if elect == 0 {
		elect = 10 * ms
	}
	if ms > 10_000 {
		return usageError{Msg: fmt.Sprintf("invalid value %d for %s", ms, v.from(heartbeat)), Hint: "give 1 to 10000 milliseconds"}
	}
	if elect < 5*ms || elect > 50_000 {
		return usageError{
			Msg:  fmt.Sprintf("invalid value %d for %s", elect, v.from(election)),
			Hint: fmt.Sprintf("give 5 heartbeats or more, that is %d to 50000 milliseconds", 5*ms),
		}
	}
	o.Heartbeat, o.Election = time.Duration(ms)*time.Millisecond, time.Duration(elect)*time.Millisecond
	return nil
}

func (v values) checkRest(o *options) error {
	if o.DataDir == "" {
		return usageError{Msg: v.from("data-dir") + " is empty", Hint: "give a path, or leave the flag out"}
	}
	if o.SnapshotCount < 100 {
		return usageError{Msg: fmt.Sprintf("invalid value %d for %s", o.SnapshotCount, v.from("snapshot-count")), Hint: "give 100 or more"}
	}
	if o.QuotaBytes < 16<<20 || o.QuotaBytes > 8<<30 {
		return usageError{Msg: fmt.Sprintf("invalid value %d for %s", o.QuotaBytes, v.from("quota-backend-bytes")), Hint: "give 16777216 to 8589934592 bytes, that is 16 MiB to 8 GiB"}
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, o.LogLevel) {
		return usageError{Msg: fmt.Sprintf("invalid value %q for %s", o.LogLevel, v.from("log-level")), Hint: "give debug, info, warn or error"}
	}
	if o.LogFormat != "glog" && o.LogFormat != "json" {
		return usageError{Msg: fmt.Sprintf("invalid value %q for %s", o.LogFormat, v.from("log-format")), Hint: "give glog or json"}
	}
	return nil
}
