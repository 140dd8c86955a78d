package options

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var cmpAddr = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func defaults() Daemon {
	return Daemon{
		Etcd:           Etcd{Endpoints: []string{"http://127.0.0.1:4001", "http://127.0.0.1:2379"}, API: "auto", Prefix: "/coreos.com/network"},
		SubnetFile:     "/run/flannel/subnet.env",
		StateDir:       "/var/lib/flannel",
		StatusSocket:   "/run/flannel/flanneld.sock",
		DockerBridge:   "docker0",
		RenewMargin:    time.Hour,
		Resync:         time.Minute,
		ForwardRules:   true,
		FirewallResync: 5 * time.Second,
		DockerFirewall: true,
		PeerFilter:     true,
		LeaseLost:      "reacquire",
		HealthzIP:      "0.0.0.0",
		LogFormat:      "glog",
	}
}

// TestLiveFlags sets every working flag, once as a flag and once as a
// variable; a row of the table without a row here fails.
func TestLiveFlags(t *testing.T) {
	tests := map[string]struct {
		value string
		set   func(*Daemon)
	}{
		"etcd-endpoints":               {" https://a:2379 ,, http://[::1]:4001/,", func(o *Daemon) { o.Etcd.Endpoints = []string{"https://a:2379", "http://[::1]:4001/"} }},
		"etcd-prefix":                  {"x//y/", func(o *Daemon) { o.Etcd.Prefix = "/x/y" }},
		"etcd-cafile":                  {"/ca", func(o *Daemon) { o.Etcd.CAFile = "/ca" }},
		"etcd-username":                {"u", func(o *Daemon) { o.Etcd.Username = "u" }},
		"etcd-password":                {"p", func(o *Daemon) { o.Etcd.Password = "p" }},
		"etcd-proxy":                   {" http://192.0.2.9:3128", func(o *Daemon) { o.Etcd.Proxy = "http://192.0.2.9:3128" }},
		"etcd-password-file":           {"/p", func(o *Daemon) { o.Etcd.PasswordFile = "/p" }},
		"iface":                        {"eth0,x", func(o *Daemon) { o.Iface = []string{"eth0,x"} }},
		"iface-regex":                  {"e{1,2}", func(o *Daemon) { o.IfaceRegex = []string{"e{1,2}"} }},
		"iface-can-reach":              {"2001:db8::1", func(o *Daemon) { o.IfaceCanReach = netip.MustParseAddr("2001:db8::1") }},
		"public-ip":                    {"::ffff:192.0.2.1", func(o *Daemon) { o.PublicIP = netip.MustParseAddr("192.0.2.1") }},
		"public-ipv6":                  {"2001:db8::2", func(o *Daemon) { o.PublicIPv6 = netip.MustParseAddr("2001:db8::2") }},
		"ip-masq":                      {"T", func(o *Daemon) { o.IPMasq = true }},
		"ip-masq-fully-random-disable": {"true", func(o *Daemon) { o.MasqPlainPorts = true }},
		"iptables-forward-rules":       {"false", func(o *Daemon) { o.ForwardRules = false }},
		"iptables-resync":              {"0x1e", func(o *Daemon) { o.FirewallResync = 30 * time.Second }},
		"docker-firewall":              {"off", func(o *Daemon) { o.DockerFirewall = false }},
		"ip-blackhole-route":           {"1", func(o *Daemon) { o.BlackholeRoute = true }},
		"subnet-file":                  {"/s", func(o *Daemon) { o.SubnetFile, o.StatusSocket = "/s", "/s.sock" }},
		"docker-bridge":                {"br-flannel", func(o *Daemon) { o.DockerBridge = "br-flannel" }},
		"state-dir":                    {"/d", func(o *Daemon) { o.StateDir = "/d" }},
		"peer-filter":                  {"off", func(o *Daemon) { o.PeerFilter = false }},
		"peer-allow": {"198.51.100.9/24, 192.0.2.1,2001:db8::9/64", func(o *Daemon) {
			o.PeerAllow = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")}
		}},
		"udp-offload":               {"gso, vnet,gso", func(o *Daemon) { o.UDPOffload = []string{"gso", "vnet"} }},
		"subnet-lease-renew-margin": {"0x10", func(o *Daemon) { o.RenewMargin = 16 * time.Minute }},
		"resync":                    {"1s", func(o *Daemon) { o.Resync = time.Second }},
		"healthz-ip":                {"127.0.0.1", func(o *Daemon) { o.HealthzIP, o.HealthzTold = "127.0.0.1", true }},
		"status-socket":             {"off", func(o *Daemon) { o.StatusSocket = "" }},
		"healthz-port":              {"010", func(o *Daemon) { o.HealthzPort = 8 }},
		"lease-lost":                {"exit", func(o *Daemon) { o.LeaseLost = "exit" }},
		"fence":                     {"true", func(o *Daemon) { o.Fence = true }},
		"take-over":                 {"true", func(o *Daemon) { o.TakeOver = true }},
		"etcd-srv":                  {" example.com.", func(o *Daemon) { o.Etcd.SRV, o.Etcd.Endpoints = "example.com", nil }},
		"etcd-api":                  {"v3", func(o *Daemon) { o.Etcd.API = "v3" }},
		"log-format":                {"json", func(o *Daemon) { o.LogFormat = "json" }},
		"v":                         {"10", func(o *Daemon) { o.Verbosity = 10 }},
	}
	for _, s := range live(new(Daemon)) {
		if s.Instead || s.Name == "etcd-keyfile" || s.Name == "etcd-certfile" { // tests of their own
			continue
		}
		tt, ok := tests[s.Name]
		if !ok {
			t.Errorf("flag %s has no test", s.Name)
			continue
		}
		want := defaults()
		tt.set(&want)
		if cmp.Equal(want, defaults(), cmpAddr) {
			t.Errorf("test of %s sets the default", s.Name)
		}
		for _, in := range []struct{ args, env []string }{
			{[]string{"-" + s.Name + "=" + tt.value}, nil},
			{nil, []string{table(new(Daemon)).Variable(s.Name) + "=" + tt.value}},
			{[]string{"--" + s.Name + "=" + tt.value}, []string{table(new(Daemon)).Variable(s.Name) + "=bad value"}},
		} {
			got, _, err := Parse(in.args, in.env)
			if err != nil {
				t.Errorf("%q: %v", in, err)
				continue
			}
			if diff := cmp.Diff(want, got, cmpAddr); diff != "" {
				t.Errorf("%q (-want +got):\n%s", in, diff)
			}
		}
	}
}

func TestSocketLiesBesideTheSubnetFile(t *testing.T) {
	for file, want := range map[string]string{
		"/run/flannel/subnet.env": "/run/flannel/flanneld.sock",
		"/run/flannel/red.env":    "/run/flannel/red.sock",
		"/run/red/subnet.env":     "/run/red/flanneld.sock",
		"red":                     "red.sock",
	} {
		if d, _, err := Parse([]string{"--subnet-file", file}, nil); err != nil || d.StatusSocket != want {
			t.Errorf("beside %s: %q, %v", file, d.StatusSocket, err)
		}
	}
	if d, _, err := Parse([]string{"--status-socket=/run/a.sock"}, nil); err != nil || d.StatusSocket != "/run/a.sock" {
		t.Errorf("%q, %v", d.StatusSocket, err)
	}
}

func TestDefaults(t *testing.T) {
	for _, env := range [][]string{nil, {"FLANNELD_IFACE=", "FLANNELD_V=", "FLANNELD_HELP=true", "FLANNELD_VERSION=x", "NOTIFY_SOCKET=/x", "odd"}} {
		got, warnings, err := Parse(nil, env)
		if err != nil || warnings != nil {
			t.Fatalf("warnings %q, error %v", warnings, err)
		}
		if diff := cmp.Diff(defaults(), got, cmpAddr); diff != "" {
			t.Errorf("options (-want +got):\n%s", diff)
		}
	}
}

func TestWhatIsDoneInsteadChecksNothingElse(t *testing.T) {
	bad := []string{"FLANNELD_HEALTHZ_PORT=x"}
	for _, tt := range []struct {
		arg  string
		want Daemon
	}{{"-h", Daemon{Help: true}}, {"--help", Daemon{Help: true}}, {"-version", Daemon{Version: true}}, {"-V", Daemon{Version: true}}, {"--help=1", Daemon{Help: true}}} {
		got, _, err := Parse([]string{"--etcd-endpoints=", tt.arg}, bad)
		if diff := cmp.Diff(tt.want, got, cmpAddr); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tt.arg, err, diff)
		}
	}
}

func TestStateDirectory(t *testing.T) {
	const systemd = "STATE_DIRECTORY=/var/lib/a:/var/lib/b"
	for _, tt := range []struct {
		args, env []string
		want      string
	}{
		{nil, []string{systemd}, "/var/lib/a"},
		{nil, []string{systemd, "FLANNELD_STATE_DIR=/e"}, "/e"},
		{[]string{"--state-dir=/f"}, []string{systemd, "FLANNELD_STATE_DIR=/e"}, "/f"},
		{nil, []string{"STATE_DIRECTORY="}, "/var/lib/flannel"},
	} {
		o, _, err := Parse(tt.args, tt.env)
		if err != nil || o.StateDir != tt.want {
			t.Errorf("%q %q: %q, %v; want %q", tt.args, tt.env, o.StateDir, err, tt.want)
		}
	}
}

func TestVariablesOfOtherPackages(t *testing.T) {
	for _, row := range []struct {
		env               []string
		args              []string
		endpoints, prefix string
	}{
		{[]string{"FLANNEL_ETCD_ENDPOINTS=http://a:1", "FLANNEL_ETCD_PREFIX=/p"}, nil, "http://a:1", "/p"},
		{[]string{"FLANNEL_ETCD=http://b:1", "FLANNEL_ETCD_KEY=/k"}, nil, "http://b:1", "/k"},
		{[]string{"FLANNEL_ETCD=http://b:1", "FLANNEL_ETCD_ENDPOINTS=http://a:1", "FLANNEL_ETCD_PREFIX=/p"}, nil, "http://a:1", "/p"},
		{[]string{"FLANNEL_ETCD_ENDPOINTS=http://a:1", "FLANNELD_ETCD_ENDPOINTS=http://c:1", "FLANNEL_ETCD_PREFIX=/p"}, nil, "http://c:1", "/p"},
		{[]string{"FLANNEL_ETCD_ENDPOINTS=http://a:1", "FLANNEL_ETCD_PREFIX=/p"}, []string{"--etcd-endpoints=http://d:1"}, "http://d:1", "/p"},
		{[]string{"FLANNEL_ETCD_ENDPOINTS=", "FLANNEL_ETCD_PREFIX=/p"}, []string{"--etcd-endpoints=http://d:1"}, "http://d:1", "/p"},
	} {
		o, warnings, err := Parse(row.args, row.env)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%v %v: %v, %v", row.env, row.args, warnings, err)
			continue
		}
		if got := strings.Join(o.Etcd.Endpoints, ","); got != row.endpoints || o.Etcd.Prefix != row.prefix {
			t.Errorf("%v %v: endpoints %s, prefix %s; want %s, %s", row.env, row.args, got, o.Etcd.Prefix, row.endpoints, row.prefix)
		}
	}
	if _, _, err := Parse(nil, []string{"FLANNEL_ETCD=a:1"}); err == nil || !strings.Contains(err.Error(), "FLANNEL_ETCD") {
		t.Errorf("a bad value: %v", err)
	}
}

func TestRepeatedFlags(t *testing.T) {
	o, _, err := Parse([]string{"--iface=a", "-iface", "b", "--iface=", "-v=1", "-v=2"}, []string{"FLANNELD_IFACE=c"})
	if err != nil || !cmp.Equal(o.Iface, []string{"a", "b"}) || o.Verbosity != 2 {
		t.Errorf("iface %q, verbosity %d, error %v", o.Iface, o.Verbosity, err)
	}
}

func TestOptionErrors(t *testing.T) {
	for _, tt := range []struct{ arg, msg, hint string }{
		{"--etcd-endpoints=", "--etcd-endpoints names no endpoint", "give URLs"},
		{"--etcd-endpoints=, ,", "--etcd-endpoints names no endpoint", "give URLs"},
		{"--etcd-endpoints=127.0.0.1:2379", `invalid endpoint "127.0.0.1:2379"`, "put the scheme first: http://127.0.0.1:2379"},
		{"--etcd-endpoints=ftp://a", `invalid endpoint "ftp://a"`, "http or https"},
		{"--etcd-endpoints=http://", `invalid endpoint "http://"`, "give a URL"},
		{"--etcd-endpoints=http://:2379", `invalid endpoint`, "give a URL"},
		{"--etcd-endpoints=http://a:70000", `invalid endpoint`, "1 to 65535"},
		{"--etcd-endpoints=http://u:hunter2@a", "--etcd-endpoints has credentials in an endpoint", "--etcd-password"},
		{`--etcd-endpoints="http://u:hunter2@a"`, "--etcd-endpoints has quotes around its value", "leave the quotes out"},
		{`--etcd-prefix="/net"`, "--etcd-prefix has quotes around its value", "leave the quotes out"},
		{`--etcd-prefix= '/net`, "--etcd-prefix has quotes around its value", "leave the quotes out"},
		{`--subnet-file=/run/subnet.env"`, "--subnet-file has quotes around its value", "leave the quotes out"},
		{"--etcd-proxy=10.0.0.1:3128", `invalid proxy "10.0.0.1:3128" in --etcd-proxy`, "put the scheme first"},
		{"--etcd-proxy=socks5://a", `invalid proxy "socks5://a"`, "http or https"},
		{"--etcd-proxy=http://u:hunter2@a", "--etcd-proxy has credentials", "by its address"},
		{"--etcd-srv=http://a", `invalid value "http://a" for --etcd-srv`, "example.com"},
		{"--etcd-srv=192.0.2.1", `invalid value "192.0.2.1" for --etcd-srv`, "example.com"},
		{"--etcd-api=v4", `invalid value "v4" for --etcd-api`, "auto, v2 or v3"},
		{"--etcd-prefix=/", "--etcd-prefix names no key", "/coreos.com/network"},
		{"--etcd-certfile=/c", "--etcd-certfile is given without --etcd-keyfile", "needs both"},
		{"--etcd-keyfile=/k", "--etcd-keyfile is given without --etcd-certfile", "needs both"},
		{"--iface-regex=(", `invalid value "(" for --iface-regex`, "regular expression"},
		{"--iface-can-reach=host", `invalid value "host" for --iface-can-reach`, "IP address"},
		{"--public-ip=2001:db8::1", `invalid value "2001:db8::1" for --public-ip`, "IPv4"},
		{"--public-ip=0.0.0.0", `invalid value "0.0.0.0" for --public-ip`, "IPv4"},
		{"--public-ipv6=192.0.2.1", `invalid value "192.0.2.1" for --public-ipv6`, "IPv6"},
		{"--public-ipv6=fe80::1%eth0", `invalid value "fe80::1%eth0" for --public-ipv6`, "IPv6"},
		{"--iptables-resync=0", "invalid value 0 for --iptables-resync", "1 or more seconds"},
		{"--docker-firewall=on", `invalid value "on" for --docker-firewall`, "auto or off"},
		{"--ip-masq=maybe", `invalid value "maybe" for --ip-masq`, "true or false"},
		{"--subnet-file=", "--subnet-file is empty", "path"},
		{"--state-dir=", "--state-dir is empty", "path"},
		{"--docker-bridge=../x", `invalid value "../x" for --docker-bridge`, "name of an interface"},
		{"--subnet-lease-renew-margin=0", "invalid subnet-lease-renew-margin option, out of acceptable range", "1 to 1439"},
		{"--subnet-lease-renew-margin=1440", "out of acceptable range", "1 to 1439"},
		{"--resync=999ms", `invalid value "999ms" for --resync`, "one second"},
		{"--peer-filter=true", `invalid value "true" for --peer-filter`, "on or off"},
		{"--peer-filter=strict", `invalid value "strict" for --peer-filter`, "strict is gone: give on"},
		{"--peer-allow=10.0.0.0/33", `invalid value "10.0.0.0/33" for --peer-allow`, "192.0.2.0/24"},
		{"--udp-offload=gso,tso", `invalid value "tso" for --udp-offload`, "gso, gro, uso"},
		{"--resync=60", `invalid value "60" for --resync`, "one second"},
		{"--healthz-port=-1", "invalid value -1 for --healthz-port", "1 to 65535"},
		{"--healthz-port=65536", "invalid value 65536 for --healthz-port", "1 to 65535"},
		{"--log-format=xml", `invalid value "xml" for --log-format`, "glog or json"},
		{"-v=many", `invalid value "many" for --v`, "whole number"},
		{"--kube-subnet-mgr=banana", `invalid value "banana" for --kube-subnet-mgr`, "true or false"},
		{"--kube-subnet-mgr", "--kube-subnet-mgr asks for leases in Kubernetes; this daemon keeps leases in etcd", "--etcd-endpoints"},
		{"--use-multi-cluster-cidr=true", "--use-multi-cluster-cidr asks", "--etcd-endpoints"},
		{"--networks=a,b", "--networks belongs to multi-network mode", severalDaemons},
		{"--listen=:8888", "--listen asks", severalDaemons},
		{"--remote=10.0.0.1:8888", "--remote asks", severalDaemons},
	} {
		name, value, ok := strings.Cut(strings.TrimLeft(tt.arg, "-"), "=")
		if !ok {
			value = "true"
		}
		env := table(new(Daemon)).Variable(name)
		for _, in := range []struct {
			args, env []string
			msg       string
		}{
			{[]string{tt.arg}, nil, tt.msg},
			{nil, []string{env + "=" + value}, strings.Replace(tt.msg, "--"+name, env, 1)},
		} {
			if in.args == nil && value == "" {
				continue // an empty variable is unset
			}
			_, _, err := Parse(in.args, in.env)
			var got UsageError
			if !errors.As(err, &got) || !strings.Contains(got.Msg, in.msg) || !strings.Contains(got.Hint, tt.hint) {
				t.Errorf("%q %q: error %q, hint %q; want %q, %q", in.args, in.env, err, got.Hint, in.msg, tt.hint)
			}
			if strings.Contains(fmt.Sprint(err, got.Hint), "hunter2") {
				t.Errorf("%q: password in %q", in, err)
			}
		}
	}
}

// With v2, and with auto, which may find v2, it is a warning: units have had it for years.
func TestBackendIsNoFlag(t *testing.T) {
	_, _, err := Parse([]string{"--backend=vxlan"}, nil)
	if e, _ := errors.AsType[UsageError](err); e.Msg != "unknown flag --backend" || !strings.Contains(e.Hint, `"Backend":{"Type":"vxlan"}`) {
		t.Errorf("error %q, hint %q", e.Msg, e.Hint)
	}
}

func TestTLSFilesWithoutHTTPSAreAnErrorForV3(t *testing.T) {
	for _, flag := range []string{"--etcd-cafile=/ca", "--etcd-certfile=/c --etcd-keyfile=/k"} {
		args := append(strings.Fields(flag), "--etcd-endpoints=http://a:2379")
		for api, want := range map[string]bool{"auto": true, "v2": true, "v3": false} {
			o, _, err := Parse(append(args, "--etcd-api="+api), nil)
			e, _ := errors.AsType[UsageError](err)
			if (err == nil) != want || !want && (!strings.Contains(e.Msg, "no endpoint of --etcd-endpoints is https") || !strings.Contains(e.Hint, "write https://")) {
				t.Errorf("%s %s: error %v, hint %s", api, flag, err, e.Hint)
			}
			if err == nil && (o.Etcd.API != api || !o.Etcd.TLSUnused()) {
				t.Errorf("%s: %+v", api, o.Etcd)
			}
		}
	}
	if o, _, err := Parse([]string{"--etcd-api=v3", "--etcd-cafile=/ca", "--etcd-endpoints=http://a,https://b"}, nil); err != nil || o.Etcd.TLSUnused() {
		t.Errorf("with one https: %v", err)
	}
}

func TestEtcdIsNamedByOneFlag(t *testing.T) {
	for _, env := range []string{"FLANNELD_ETCD_ENDPOINTS=http://a", "FLANNEL_ETCD=http://a", "FLANNELD_ETCD_SRV="} {
		o, _, err := Parse([]string{"--etcd-srv=example.com", "--etcd-cafile=/ca", "--etcd-username=u"}, []string{env})
		e, _ := errors.AsType[UsageError](err)
		if name, value, _ := strings.Cut(env, "="); value != "" && (e.Msg != "--etcd-srv and "+name+" are given" || e.Hint == "") {
			t.Errorf("%s: error %v", env, err)
		} else if value == "" && (err != nil || o.Etcd.Endpoints != nil || o.Etcd.TLSUnused() || o.Etcd.Secrets() != "--etcd-username") {
			t.Errorf("%s: %+v, %v", env, o.Etcd, err)
		}
	}
}

func TestHealthzIPIsCheckedIfThereIsAPort(t *testing.T) {
	for host, valid := range map[string]bool{
		"": true, "localhost": true, "0.0.0.0": true, "::1": true, "node-1.example.org.": true, "n1.2x": true,
		"10.0.0.256": false, "10.0.0": false, "http://x": false, "a b": false, "a..b": false, "[::1]": false,
	} {
		o, _, err := Parse([]string{"--healthz-ip=" + host}, nil)
		if err != nil || o.HealthzIP != host {
			t.Errorf("%q without a port: %q, %v", host, o.HealthzIP, err)
		}
		_, _, err = Parse([]string{"--healthz-port=1", "--healthz-ip=" + host}, nil)
		if (err == nil) != valid || err != nil && err.Error() != fmt.Sprintf("invalid value %q for --healthz-ip", host) {
			t.Errorf("%q with a port: %v, want valid: %t", host, err, valid)
		}
	}
}

func TestClientCertificate(t *testing.T) {
	o, warnings, err := Parse([]string{"--etcd-keyfile=/k", "--etcd-endpoints=https://a"}, []string{"FLANNELD_ETCD_CERTFILE=/c"})
	if err != nil || warnings != nil || o.Etcd.KeyFile != "/k" || o.Etcd.CertFile != "/c" {
		t.Errorf("key %q, certificate %q, warnings %q, error %v", o.Etcd.KeyFile, o.Etcd.CertFile, warnings, err)
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	o, _, err := Parse([]string{"--etcd-username=u", "--etcd-password=hunter2"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var logs bytes.Buffer
	slog.New(slog.NewTextHandler(&logs, nil)).Info("m", "p", o.Etcd.Password)
	slog.New(slog.NewJSONHandler(&logs, nil)).Info("m", "p", o.Etcd.Password, "o", o)
	js, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	type plain Daemon // without String
	all := fmt.Sprintf("%v %+v %#v %s %q %x %d %v %+v %#v", o.Etcd.Password, o.Etcd.Password, o.Etcd.Password, o.Etcd.Password,
		o.Etcd.Password, o.Etcd.Password, o.Etcd.Password, o, plain(o), plain(o)) + string(js) + logs.String()
	if strings.Contains(all, "hunter2") || strings.Contains(all, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("password in %s", all)
	}
	if string(o.Etcd.Password) != "hunter2" {
		t.Error("password lost")
	}
	if got := o.String(); !strings.HasPrefix(got, "{etcdEndpoints:http://127.0.0.1:4001,") || strings.Contains(got, "***") {
		t.Errorf("String %q", got)
	}
}
