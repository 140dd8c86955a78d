package main

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

func here(addrs ...string) func() ([]netip.Addr, error) {
	return func() ([]netip.Addr, error) {
		var out []netip.Addr
		for _, a := range addrs {
			out = append(out, netip.MustParseAddr(a))
		}
		return out, nil
	}
}

func TestDefaults(t *testing.T) {
	o, warnings, err := parseOptions(nil, nil, here())
	if err != nil || len(warnings) != 0 || len(exposed(o)) != 0 {
		t.Fatalf("%v, %v, %v", err, warnings, exposed(o))
	}
	if o.Clients.String() != defaultClients || o.Peers.String() != defaultPeers || o.DataDir != defaultDataDir {
		t.Errorf("options are %+v", o)
	}
	if o.Heartbeat != 20*time.Millisecond || o.Election != 200*time.Millisecond {
		t.Errorf("timing of one member is %v, %v", o.Heartbeat, o.Election)
	}
	if err := config(o, zap.NewNop()).Validate(); err != nil {
		t.Errorf("etcd does not take them: %v", err)
	}
}

func TestCluster(t *testing.T) {
	const list = "--cluster=192.0.2.1, 192.0.2.2:9,2001:db8::3"
	for _, row := range []struct {
		args  []string
		local string
		name  string
		peers string
	}{
		{[]string{list}, "192.0.2.1", "192.0.2.1", "http://192.0.2.1:2380"},
		{[]string{list}, "192.0.2.2", "192.0.2.2:9", "http://192.0.2.2:9"},
		{[]string{list}, "2001:db8::3", "2001:db8::3", "http://[2001:db8::3]:2380"},
		{[]string{list, "--name=192.0.2.1"}, "203.0.113.1", "192.0.2.1", "http://192.0.2.1:2380"},
		{[]string{list, "--listen-peer-urls=http://0.0.0.0:2380"}, "192.0.2.1", "192.0.2.1", "http://0.0.0.0:2380"},
	} {
		o, warnings, err := parseOptions(row.args, nil, here(row.local))
		if err != nil || len(warnings) != 0 || o.Name != row.name || o.Peers.String() != row.peers || len(o.Members) != 3 {
			t.Errorf("%s at %s: %+v, %v, %v", row.args, row.local, o, warnings, err)
			continue
		}
		if o.Heartbeat != 100*time.Millisecond || o.Election != time.Second {
			t.Errorf("timing of three members is %v, %v", o.Heartbeat, o.Election)
		}
		if err := config(o, zap.NewNop()).Validate(); err != nil {
			t.Errorf("%s: etcd does not take it: %v", row.args, err)
		}
		if !strings.HasPrefix(o.AdvertisePeers.String(), "http://192.0.2.1:2380") && row.name == "192.0.2.1" {
			t.Errorf("%s: others are told %s", row.args, o.AdvertisePeers)
		}
	}
	o, _, err := parseOptions([]string{list, "--peer-cert-file=c", "--peer-key-file=k", "--peer-trusted-ca-file=a"}, nil, here("192.0.2.1"))
	if err != nil || o.Peers.String() != "https://192.0.2.1:2380" {
		t.Errorf("with TLS: %+v, %v", o, err)
	}
	_, warnings, err := parseOptions([]string{"--cluster=192.0.2.1,192.0.2.2"}, nil, here("192.0.2.1"))
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0], "2 members bear the loss of no more") {
		t.Errorf("two members: %v, %v", warnings, err)
	}
}

func TestEtcdsOwnFlags(t *testing.T) {
	args := strings.Fields("-name one --enable-v2 --client-cert-auth=true --initial-cluster=one=http://192.0.2.1:2380,two=http://192.0.2.2:2380,three=http://192.0.2.3:2380 " +
		"--initial-advertise-peer-urls http://192.0.2.1:2380 --listen-peer-urls http://0.0.0.0:2380 --listen-client-urls=http://0.0.0.0:2379 --initial-cluster-state=existing")
	o, _, err := parseOptions(args, nil, here())
	if err != nil || !o.Join || len(o.Members) != 3 || o.Advertise.String() != "http://127.0.0.1:2379" {
		t.Errorf("%+v, %v", o, err)
	}
	if w := exposed(o); len(w) != 2 {
		t.Errorf("warnings are %q", w)
	}
}

func TestEnvironment(t *testing.T) {
	env := []string{"FLANNEL_ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:1", "FLANNEL_ETCD_DATA_DIR=", "STATE_DIRECTORY=/s:/t", "FLANNEL_ETCD_NMAE=x", "FLANNEL_ETCD_NAME=env"}
	o, warnings, err := parseOptions([]string{"--name=flag"}, env, here())
	if err != nil || o.Clients.String() != "http://127.0.0.1:1" || o.DataDir != "/s" || o.Name != "flag" {
		t.Errorf("%+v, %v", o, err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "FLANNEL_ETCD_NMAE") {
		t.Errorf("warnings are %q", warnings)
	}
	_, _, err = parseOptions(nil, []string{"FLANNEL_ETCD_SNAPSHOT_COUNT=x"}, here())
	if err == nil || !strings.Contains(err.Error(), "FLANNEL_ETCD_SNAPSHOT_COUNT") {
		t.Errorf("err = %v", err)
	}
}

func TestMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"x":                                     `unexpected argument "x"`,
		"--dta-dir":                             "unknown flag --dta-dir",
		"--data-dir= --name=a":                  "--data-dir is empty",
		"--listen-client-urls=127.0.0.1:2379":   `invalid URL "127.0.0.1:2379" in --listen-client-urls`,
		"--listen-client-urls=http://127.0.0.1": "invalid URL",
		"--listen-client-urls=http://host:2379": "invalid URL",
		"--listen-client-urls=http://u:p@127.0.0.1:2379":                        "invalid URL",
		"--listen-client-urls=ftp://127.0.0.1:2379":                             "invalid URL",
		"--listen-client-urls=http://127.0.0.1:2379/v2":                         "invalid URL",
		"--listen-client-urls=https://127.0.0.1:2379":                           "there is no certificate",
		"--listen-client-urls=http://192.0.2.1:2379 --cert-file=a --key-file=b": "in the clear though there is a certificate",
		"--cert-file=a":                                                 "--cert-file is given without --key-file",
		"--trusted-ca-file=a":                                           "--trusted-ca-file is given without --cert-file",
		"--peer-cert-file=a --peer-key-file=b":                          "--peer-cert-file is given without --peer-trusted-ca-file",
		"--cluster=192.0.2.1,x":                                         `invalid address "x" in --cluster`,
		"--cluster=192.0.2.1,0.0.0.0":                                   `invalid address "0.0.0.0"`,
		"--cluster=192.0.2.1,192.0.2.1:2380":                            "twice",
		"--cluster=192.0.2.8,192.0.2.9":                                 "no address in --cluster is this host's",
		"--cluster=192.0.2.1,127.0.0.1":                                 "are both this host's",
		"--cluster=192.0.2.1 --name=192.0.2.2":                          `--cluster has no member "192.0.2.2"`,
		"--cluster=192.0.2.1 --initial-cluster=a=http://192.0.2.1:2380": "both given",
		"--initial-cluster=one":                                         `invalid member "one"`,
		"--initial-cluster=one=http://192.0.2.1:2380":                   `has no member "flannel-etcd"`,
		"--initial-cluster=flannel-etcd=http://192.0.2.1:2380":          "other members would be told",
		"--initial-cluster-state=old":                                   `invalid value "old"`,
		"--heartbeat-interval=100 --election-timeout=499":               "invalid value 499 for --election-timeout",
		"--heartbeat-interval=20000":                                    "invalid value 20000",
		"--heartbeat-interval=-1":                                       `invalid value "-1"`,
		"--snapshot-count=1":                                            "invalid value 1",
		"--quota-backend-bytes=1":                                       "invalid value 1",
		"--log-level=loud":                                              `invalid value "loud"`,
		"--log-format=xml":                                              `invalid value "xml"`,
		"--unsafe-no-fsync=maybe":                                       `invalid value "maybe"`,
		"--enable-v2=false":                                             `invalid value "false" for --enable-v2`,
	} {
		_, _, err := parseOptions(strings.Fields(args), nil, here("192.0.2.1"))
		usage, ok := errors.AsType[usageError](err)
		if !ok || !strings.Contains(usage.Msg, want) || usage.Hint == "" {
			t.Errorf("%s: %#v, want %q and a hint", args, err, want)
		}
	}
}

func TestWarnsOfOpenDoors(t *testing.T) {
	const tls = " --cert-file=c --key-file=k"
	for args, want := range map[string]int{
		"":                                    0,
		"--listen-client-urls=http://[::1]:1": 0,
		"--listen-client-urls=http://localhost:1":                                           0,
		"--listen-client-urls=http://0.0.0.0:1":                                             1,
		"--listen-client-urls=http://127.0.0.1:1,http://192.0.2.1:1":                        1,
		"--listen-client-urls=https://192.0.2.1:1" + tls:                                    1,
		"--listen-client-urls=https://192.0.2.1:1 --trusted-ca-file=a" + tls:                0,
		"--cluster=192.0.2.1":                                                               1,
		"--cluster=192.0.2.1 --peer-cert-file=c --peer-key-file=k --peer-trusted-ca-file=a": 0,
	} {
		o, _, err := parseOptions(strings.Fields(args), nil, here("192.0.2.1"))
		if got := exposed(o); err != nil || len(got) != want {
			t.Errorf("%s: %q, %v; want %d", args, got, err, want)
		}
	}
}

// TestHelpNamesEveryFlag also keeps docs/etcd.md and the unit's defaults true.
func TestHelpNamesEveryFlag(t *testing.T) {
	text := usage("flannel-etcd")
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "etcd.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range flagTable() {
		if !strings.Contains(text, "  --"+s.name) && s.group != "" {
			t.Errorf("--help lacks --%s", s.name)
		}
		if !strings.Contains(string(doc), "`"+s.name+"`") {
			t.Errorf("docs/etcd.md lacks `%s`", s.name)
		}
	}
	for line := range strings.Lines(text) {
		if len(line) > helpWidth+1 {
			t.Errorf("too long: %q", line)
		}
	}
}

func TestLogLines(t *testing.T) {
	var b bytes.Buffer
	own, etcd := newLoggers(&b, options{LogLevel: "warn", LogFormat: "glog"})
	own.Info("Ready: a=b")
	etcd.Info("chatter")
	etcd.Warn("simple token is not cryptographically signed")
	etcd.With(zap.String("x", "a b")).Error("two\nlines", zap.Strings("y", []string{"1"}), zap.Error(errors.New("boom")))
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("lines are %q", lines)
	}
	for i, want := range []string{"] Ready: a=b", `] two\nlines x="a b" y=[1] error=boom`} {
		if !strings.HasSuffix(lines[i], want) || !slices.Contains([]byte("IE"), lines[i][0]) || !strings.Contains(lines[i], " options_test.go:") {
			t.Errorf("line is %q, want …%s", lines[i], want)
		}
	}
	b.Reset()
	own, _ = newLoggers(&b, options{LogLevel: "warn", LogFormat: "json"})
	own.Info("x")
	if !strings.HasPrefix(b.String(), "{") || !strings.Contains(b.String(), `"msg":"x"`) {
		t.Errorf("JSON is %q", b.String())
	}
}

func FuzzOptions(f *testing.F) {
	for _, s := range []string{"--cluster=192.0.2.1,192.0.2.2:9", "--initial-cluster=a=http://192.0.2.1:1 --name=a --initial-advertise-peer-urls=http://192.0.2.1:1",
		"--listen-client-urls=http://[::1]:2379,https://x:1", "--cluster=[::1]:5", "--heartbeat-interval=5 --election-timeout=25"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, args string) {
		o, _, err := parseOptions(strings.Fields(args), nil, here("192.0.2.1"))
		if err != nil {
			if _, ok := errors.AsType[usageError](err); !ok {
				t.Errorf("%q: %v is no usageError", args, err)
			}
			return
		}
		if o.Help || o.Version {
			return
		}
		exposed(o)
		if len(o.Members) == 0 || len(o.Clients) == 0 || len(o.Advertise) == 0 || o.Election < 5*o.Heartbeat {
			t.Errorf("%q: %+v", args, o)
		}
	})
}
