package main

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.uber.org/zap"
)

// parsed parses arguments that are right.
func parsed(t *testing.T, args string, env ...string) (options, []string) {
	t.Helper()
	o, warnings, err := parseOptions(strings.Fields(args), env, io.Discard)
	if err != nil {
		t.Fatalf("%s: %v", args, err)
	}
	return o, warnings
}

func urls(us []url.URL) string { return types.URLs(us).String() }

func TestDefaults(t *testing.T) {
	o, warnings := parsed(t, "")
	if len(warnings) != 0 || len(exposed(o.Config)) != 0 {
		t.Fatalf("%v, %v", warnings, exposed(o.Config))
	}
	if urls(o.ListenClientUrls) != "http://127.0.0.1:2379" || urls(o.ListenPeerUrls) != "http://127.0.0.1:2380" || o.Dir != "/var/lib/flannel-etcd" || !o.EnableV2 {
		t.Errorf("options are %+v", o.Config)
	}
	if o.TickMs != 20 || o.ElectionMs != 200 {
		t.Errorf("timing of one member is %v, %v", o.TickMs, o.ElectionMs)
	}
	if o.InitialCluster != "flannel-etcd=http://127.0.0.1:2380" || o.SnapshotCount != 10_000 || o.QuotaBackendBytes != 256<<20 {
		t.Errorf("options are %+v", o.Config)
	}
}

func TestEtcdsOwnFlags(t *testing.T) {
	o, _ := parsed(t, "-name one --enable-v2 --client-cert-auth=true --initial-cluster=one=http://192.0.2.1:2380,two=http://192.0.2.2:2380,three=http://192.0.2.3:2380 "+
		"--initial-advertise-peer-urls http://192.0.2.1:2380 --listen-peer-urls http://0.0.0.0:2380 --listen-client-urls=http://0.0.0.0:2379 --initial-cluster-state=existing "+
		"--max-concurrent-streams=7 --grpc-keepalive-timeout=5s --cipher-suites=[A,B]")
	if o.IsNewCluster() || strings.Count(o.InitialCluster, ",") != 2 || urls(o.AdvertiseClientUrls) != "http://127.0.0.1:2379" {
		t.Errorf("%+v", o.Config)
	}
	if o.TickMs != 100 || o.ElectionMs != 1000 {
		t.Errorf("timing of three members is %v, %v", o.TickMs, o.ElectionMs)
	}
	if o.MaxConcurrentStreams != 7 || o.GRPCKeepAliveTimeout != 5*time.Second || !slices.Equal(o.CipherSuites, []string{"A", "B"}) {
		t.Errorf("%+v", o.Config)
	}
	if w := exposed(o.Config); len(w) != 2 {
		t.Errorf("warnings are %q", w)
	}
}

func TestEnvironment(t *testing.T) {
	o, warnings := parsed(t, "--name=flag", "FLANNEL_ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:1", "ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:2",
		"ETCD_DATA_DIR=", "FLANNEL_ETCD_NMAE=x", "ETCD_NAME=env", "ETCD_VERSION=3", "ETCD_SNAPSHOT_COUNT=77")
	if urls(o.ListenClientUrls) != "http://127.0.0.1:1" || o.Dir != "/var/lib/flannel-etcd" || o.Name != "flag" || o.SnapshotCount != 77 {
		t.Errorf("%+v", o.Config)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "FLANNEL_ETCD_NMAE") {
		t.Errorf("warnings are %q", warnings)
	}
	for _, env := range []string{"FLANNEL_ETCD_SNAPSHOT_COUNT=x", "FLANNEL_ETCD_CLUSTER=192.0.2.1", "FLANNEL_ETCD_LOG_FORMAT=json"} {
		_, _, err := parseOptions(nil, []string{env}, io.Discard)
		name, _, _ := strings.Cut(env, "=")
		if usage, ok := errors.AsType[usageError](err); !ok || !strings.Contains(err.Error(), name) || usage.Hint == "" {
			t.Errorf("%s: err = %v", env, err)
		}
	}
}

func TestConfigFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etcd.yml")
	if err := os.WriteFile(path, []byte(`name: one
listen-peer-urls: http://192.0.2.1:2380
snapshot-count: 500
heartbeat-interval: 50
peer-transport-security: {cert-file: c, key-file: k, trusted-ca-file: a}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	o, warnings := parsed(t, "--config-file="+path+" --snapshot-count=600", "ETCD_NAME=env")
	if o.Name != "env" || o.SnapshotCount != 600 || o.TickMs != 50 || o.ElectionMs != 1000 || len(warnings) != 0 {
		t.Errorf("%+v, %q", o.Config, warnings)
	}
	if o.InitialCluster != "env=http://192.0.2.1:2380" || urls(o.ListenClientUrls) != "http://127.0.0.1:2379" || !o.EnableV2 {
		t.Errorf("%+v", o.Config)
	}
	if o.PeerTLSInfo.CertFile != "c" || !o.PeerTLSInfo.ClientCertAuth || o.ClientTLSInfo.ClientCertAuth {
		t.Errorf("TLS is %+v, %+v", o.PeerTLSInfo, o.ClientTLSInfo)
	}
	for _, text := range []string{"snapshot-count: x", "x", "a: [", "heartbeat-interval: 2000"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := parseOptions([]string{"--config-file=" + path}, nil, io.Discard)
		if usage, ok := errors.AsType[usageError](err); !ok || usage.Hint == "" {
			t.Errorf("%s: err = %v", text, err)
		}
	}
}

func TestMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"x":                                               `unexpected argument "x"`,
		"--dta-dir":                                       "unknown flag --dta-dir",
		"--listen-client-urls=127.0.0.1:2379":             `invalid value "127.0.0.1:2379" for --listen-client-urls`,
		"--listen-client-urls=http://127.0.0.1":           "invalid value",
		"--listen-client-urls=http://host:2379":           "http://host:2379",
		"--listen-client-urls=ftp://127.0.0.1:2379":       "invalid value",
		"--listen-client-urls=http://127.0.0.1:2379/v2":   "invalid value",
		"--cluster=192.0.2.1":                             "--cluster is no longer an option",
		"--log-format=json":                               "--log-format is no longer an option",
		"--config-file=/nonexistent":                      "/nonexistent",
		"--initial-cluster-state=old":                     `"old"`,
		"--heartbeat-interval=100 --election-timeout=499": "--election-timeout[499ms]",
		"--heartbeat-interval=-1":                         `invalid value "-1" for --heartbeat-interval`,
		"--snapshot-count=x":                              `invalid value "x" for --snapshot-count`,
		"--log-level=loud":                                `"loud"`,
		"--unsafe-no-fsync=maybe":                         `invalid boolean value "maybe" for --unsafe-no-fsync`,
	} {
		_, _, err := parseOptions(strings.Fields(args), nil, io.Discard)
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
		"--listen-client-urls=http://localhost:1":                                                                 0,
		"--listen-client-urls=http://0.0.0.0:1":                                                                   1,
		"--listen-client-urls=http://127.0.0.1:1,http://192.0.2.1:1":                                              1,
		"--listen-client-urls=https://192.0.2.1:1" + tls:                                                          1,
		"--listen-client-urls=https://192.0.2.1:1 --trusted-ca-file=a" + tls:                                      0,
		"--listen-peer-urls=http://192.0.2.1:2380":                                                                1,
		"--listen-peer-urls=https://192.0.2.1:2380 --peer-cert-file=c --peer-key-file=k --peer-trusted-ca-file=a": 0,
	} {
		o, _ := parsed(t, args)
		if got := exposed(o.Config); len(got) != want {
			t.Errorf("%s: %q; want %d", args, got, want)
		}
	}
}

// TestHelpNamesEveryDefault also keeps docs/flannel-etcd.md true.
func TestHelpNamesEveryDefault(t *testing.T) {
	text := usage("flannel-etcd")
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "flannel-etcd.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range defaults() {
		if !strings.Contains(text, "  --"+name+" "+value+"\n") {
			t.Errorf("--help lacks --%s %s", name, value)
		}
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/flannel-etcd.md lacks `%s`", name)
		}
	}
	for name := range successors() {
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/flannel-etcd.md lacks `%s`", name)
		}
	}
}

func TestLogLines(t *testing.T) {
	var b bytes.Buffer
	own, etcd := newLogger(&b, zap.InfoLevel), newLogger(&b, zap.WarnLevel)
	own.Info("Ready: a=b")
	etcd.Info("chatter")
	etcd.Warn("simple token is not cryptographically signed")
	etcd.With(zap.String("x", "a b")).Error("boom", zap.Strings("y", []string{"1"}), zap.Error(errors.New("two\nlines")))
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("lines are %q", lines)
	}
	for i, want := range []string{" I options_test.go:", " E options_test.go:"} {
		end := []string{" Ready: a=b", ` boom {"x": "a b", "y": ["1"], "error": "two\nlines"}`}[i]
		if !strings.Contains(lines[i], want) || !strings.HasSuffix(lines[i], end) {
			t.Errorf("line is %q, want …%s…%s", lines[i], want, end)
		}
	}
}

func FuzzOptions(f *testing.F) {
	for _, s := range []string{"--initial-cluster=a=http://192.0.2.1:1 --name=a --initial-advertise-peer-urls=http://192.0.2.1:1",
		"--listen-client-urls=http://[::1]:2379,https://x:1", "--heartbeat-interval=5 --election-timeout=25", "--cluster=a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, args string) {
		if strings.Contains(args, "config-file") {
			return // no file of this machine's
		}
		o, _, err := parseOptions(strings.Fields(args), nil, io.Discard)
		if err != nil {
			if _, ok := errors.AsType[usageError](err); !ok {
				t.Errorf("%q: %v is no usageError", args, err)
			}
			return
		}
		if o.Help || o.Version {
			return
		}
		exposed(o.Config)
		if len(o.ListenClientUrls) == 0 || len(o.AdvertiseClientUrls) == 0 || o.ElectionMs < 5*o.TickMs {
			t.Errorf("%q: %+v", args, o.Config)
		}
	})
}
