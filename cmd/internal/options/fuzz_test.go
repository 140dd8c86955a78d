package options

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// FuzzParseOptions takes arguments and variables one per line. Whatever they
// are, parsing ends with a UsageError or with options that hold their promises.
func FuzzParseOptions(f *testing.F) {
	f.Add("", "")
	f.Add("-v\n10\n--iface=eth0", "FLANNELD_IFACE=x")
	f.Add("--ip-masq\nfalse", "FLANNELD_IP_MASQ=maybe")
	f.Add("--\nx", "FLANNELD_ETCD_ENDPOINT=")
	f.Add("--etcd-endpoints=https://a,http://[::1", "STATE_DIRECTORY=:")
	f.Add("---\n-=\n-h", "=\nFLANNELD_")
	f.Add("--etcd-prefix=../..\n--iface-regex=(\n--resync=-1s", "FLANNELD_RESYNC=1e9h")
	f.Add("--etcd-srv=example.com\n--etcd-api=v3", "")
	f.Fuzz(func(t *testing.T, args, env string) {
		o, _, err := Parse(strings.Split(args, "\n"), strings.Split(env, "\n"))
		if args == "" {
			o, _, err = Parse(nil, strings.Split(env, "\n"))
		}
		if err != nil {
			var u UsageError
			if !errors.As(err, &u) || u.Msg == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		if o.Help || o.Version {
			return
		}
		switch {
		case (len(o.Etcd.Endpoints) == 0) != (o.Etcd.SRV != ""), strings.ContainsAny(o.Etcd.SRV, "/:@ "),
			!strings.HasPrefix(o.Etcd.Prefix, "/"), strings.HasSuffix(o.Etcd.Prefix, "/"),
			(o.Etcd.KeyFile == "") != (o.Etcd.CertFile == ""),
			o.RenewMargin < time.Minute, o.RenewMargin >= 24*time.Hour,
			o.Resync < time.Second, o.HealthzPort < 0, o.HealthzPort > 65535,
			o.HealthzPort > 0 && !isHost(o.HealthzIP), o.SubnetFile == "", o.StateDir == "",
			o.PublicIP.IsValid() && !o.PublicIP.Is4(), o.PublicIPv6.IsValid() && !o.PublicIPv6.Is6():
			t.Errorf("accepted %q %q as %v", args, env, o)
		}
	})
}
