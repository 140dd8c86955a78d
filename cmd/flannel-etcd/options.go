package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	etcd "go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/yaml"
)

// options is what flags, variables and the configuration file ask for.
type options struct {
	*embed.Config
	File    string // etcd's configuration file, if any
	Version bool   // print the version and leave
	Help    bool   // print the usage and leave
}

// usageError is a mistake in the options. main prints both parts and exits with status 2.
type usageError struct {
	Msg  string // what is wrong
	Hint string // what to do about it
}

func (e usageError) Error() string { return e.Msg }

const seeHelp = "--help lists all flags, and says where they are described"

// successors returns what to give in place of flags that earlier versions had.
func successors() map[string]string {
	return map[string]string{
		"cluster": "give etcd's own flags; for --cluster=192.0.2.1,192.0.2.2 the member 192.0.2.1 has --name=192.0.2.1 " +
			"--initial-cluster=192.0.2.1=http://192.0.2.1:2380,192.0.2.2=http://192.0.2.2:2380 --listen-peer-urls=http://192.0.2.1:2380",
		"log-format": "leave it out; --log-level says how much of etcd's messages is logged",
	}
}

// parseOptions reads the arguments (without the program's name), the environment and the
// file that they name. A flag wins over its variable, which wins over the file and that
// over the defaults. Mistakes are usageErrors; the warnings are sentences to log.
func parseOptions(args, environ []string, stderr io.Writer) (o options, warnings []string, err error) {
	o.Config = embed.NewConfig()
	given, warnings, err := o.parse(args, environ)
	if err != nil || o.Help || o.Version {
		return o, nil, err
	}
	if o.File != "" { // flags change what etcd has read there
		file, err := o.read()
		if err != nil {
			return o, nil, err
		}
		_, _, _ = o.parse(args, environ) // the same as before: no error
		maps.Copy(given, file)
	}
	return o, warnings, o.complete(given, stderr)
}

// parse sets what variables and flags say, and returns the names of those flags.
func (o *options) parse(args, environ []string) (given map[string]bool, warnings []string, err error) {
	fs := o.flags()
	for _, kv := range slices.Sorted(slices.Values(environ)) { // FLANNEL_ETCD_NAME after ETCD_NAME, and so it wins
		variable, value, _ := strings.Cut(kv, "=")
		// Earlier versions had variables with the program's name before etcd's.
		name, ok := strings.CutPrefix(strings.TrimPrefix(variable, "FLANNEL_"), "ETCD_")
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		switch hint := successors()[name]; {
		case !ok || value == "" || name == "version": // of the image, in a container
		case hint != "":
			return nil, nil, usageError{variable + " is no longer an option", hint}
		case fs.Lookup(name) == nil:
			warnings = append(warnings, "environment variable "+variable+" is unknown and ignored")
		default:
			if err := fs.Set(name, value); err != nil {
				return nil, nil, usageError{fmt.Sprintf("invalid value %q for %s: %v", value, variable, err), seeHelp}
			}
		}
	}
	for name, hint := range successors() {
		fs.Func(name, "", func(string) error { err = usageError{"--" + name + " is no longer an option", hint}; return err })
	}
	fs.SetOutput(io.Discard) // errors are returned, and main prints them
	if e := fs.Parse(args); err == nil && e != nil {
		err = usageError{strings.NewReplacer("flag provided but not defined: -", "unknown flag --", "for flag -", "for --", "for -", "for --").Replace(e.Error()), seeHelp}
	} else if err == nil && fs.NArg() > 0 {
		err = usageError{fmt.Sprintf("unexpected argument %q", fs.Arg(0)), "every argument is a flag; write --name=value"}
	}
	given = make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return given, warnings, err
}

// defaults returns what differs from etcd's own, by flag.
func defaults() map[string]string {
	return map[string]string{
		"name":                      "flannel-etcd",
		"data-dir":                  "/var/lib/flannel-etcd",
		"initial-cluster-token":     "flannel-etcd",
		"listen-client-urls":        "http://127.0.0.1:2379",
		"listen-peer-urls":          "http://127.0.0.1:2380",
		"enable-v2":                 "true",
		"enable-grpc-gateway":       "false", // it would need a certificate as a client of its own server
		"snapshot-count":            "10000", // more take more disk, and longer to start
		"max-snapshots":             "3",
		"max-wals":                  "3",
		"quota-backend-bytes":       "268435456", // of v3 keys: docs/etcd.md says what a host takes
		"auto-compaction-mode":      embed.CompactorModePeriodic,
		"auto-compaction-retention": "1h",
		"experimental-bootstrap-defrag-threshold-megabytes": "16",
		"log-level": "warn",
	}
}

// flags returns etcd's flags, which change the configuration.
func (o *options) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("flannel-etcd", flag.ContinueOnError)
	fs.StringVar(&o.File, "config-file", "", "")
	fs.BoolVar(&o.Version, "version", false, "")
	fs.BoolVar(&o.Help, "help", false, "")
	fs.BoolVar(&o.Help, "h", false, "")
	for name, p := range map[string]*[]url.URL{
		"listen-client-urls": &o.ListenClientUrls, "listen-client-http-urls": &o.ListenClientHttpUrls, "advertise-client-urls": &o.AdvertiseClientUrls,
		"listen-peer-urls": &o.ListenPeerUrls, "initial-advertise-peer-urls": &o.AdvertisePeerUrls, "listen-metrics-urls": &o.ListenMetricsUrls,
	} {
		fs.Func(name, "", func(s string) (err error) { *p, err = types.NewURLs(strings.Split(s, ",")); return err })
	}
	for prefix, t := range map[string]*transport.TLSInfo{"": &o.ClientTLSInfo, "peer-": &o.PeerTLSInfo} {
		fs.StringVar(&t.CertFile, prefix+"cert-file", t.CertFile, "")
		fs.StringVar(&t.KeyFile, prefix+"key-file", t.KeyFile, "")
		fs.StringVar(&t.TrustedCAFile, prefix+"trusted-ca-file", t.TrustedCAFile, "")
		fs.BoolVar(&t.ClientCertAuth, prefix+"client-cert-auth", t.ClientCertAuth, "")
	}
	fields := reflect.ValueOf(o.Config).Elem()
	for _, f := range reflect.VisibleFields(fields.Type()) {
		name := f.Tag.Get("json")
		if name == "" || name == "-" || fs.Lookup(name) != nil {
			continue
		}
		switch p := fields.FieldByIndex(f.Index).Addr().Interface().(type) {
		case *string:
			fs.StringVar(p, name, *p, "")
		case *bool:
			fs.BoolVar(p, name, *p, "")
		case *time.Duration:
			fs.DurationVar(p, name, *p, "")
		default:
			fs.Func(name, "", func(s string) error { return yaml.Unmarshal([]byte(s), p) })
		}
	}
	return fs
}

// read has etcd read the file, and returns the names of what is in it.
func (o *options) read() (given map[string]bool, err error) {
	var values map[string]any
	text, err := os.ReadFile(o.File)
	if err == nil {
		err = yaml.Unmarshal(text, &values)
	}
	if err == nil {
		o.Config, err = embed.ConfigFromFile(o.File)
	}
	if err != nil {
		return nil, usageError{"read configuration: " + err.Error(), "give --config-file a file of etcd's form, which the unit's user can read"}
	}
	given = make(map[string]bool)
	for name := range values {
		given[name] = true
	}
	return given, nil
}

// complete sets what is not given: the defaults, and what follows from the rest. etcd logs
// to stderr.
func (o *options) complete(given map[string]bool, stderr io.Writer) error {
	fs := o.flags()
	for name, value := range defaults() {
		if !given[name] {
			_ = fs.Set(name, value) // they are such as the flags take
		}
	}
	if !given["advertise-client-urls"] {
		o.AdvertiseClientUrls = slices.Clone(o.ListenClientUrls)
		for i, u := range o.AdvertiseClientUrls { // "all addresses" is none to go to; this host has the loopback one
			o.AdvertiseClientUrls[i].Host = strings.NewReplacer("0.0.0.0:", "127.0.0.1:", "[::]:", "[::1]:").Replace(u.Host)
		}
	}
	if !given["initial-advertise-peer-urls"] {
		o.AdvertisePeerUrls = o.ListenPeerUrls
	}
	if !given["initial-cluster"] {
		o.InitialCluster = ""
		if o.Durl == "" && o.DNSCluster == "" {
			o.InitialCluster = o.InitialClusterFromName(o.Name)
		}
	}
	alone := o.InitialCluster != "" && !strings.Contains(o.InitialCluster, ",") && o.IsNewCluster()
	if alone && !given["heartbeat-interval"] && !given["election-timeout"] {
		o.TickMs, o.ElectionMs = 20, 200 // one member hears itself at once: measured, it then starts in a fifth of a second
	}
	o.ClientTLSInfo.ClientCertAuth = o.ClientTLSInfo.TrustedCAFile != ""
	o.PeerTLSInfo.ClientCertAuth = o.PeerTLSInfo.TrustedCAFile != ""
	var level zapcore.Level
	err := level.Set(o.LogLevel)
	if err == nil { // else etcd would panic
		o.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newLogger(stderr, level))
		err = o.Validate()
	}
	if err != nil {
		return usageError{err.Error(), seeHelp}
	}
	return nil
}

// usage is the text of --help.
func usage(argv0 string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `Usage: %s [OPTION]...

Runs an etcd %s with both APIs, v2 and v3, which listens only to this host
unless told otherwise. Its options are etcd's, and described at
https://etcd.io/docs/v3.5/op-guide/configuration/. Each is a flag, a variable
(ETCD_DATA_DIR for --data-dir) or a line in the file that --config-file names.
A flag wins over its variable, and a variable over the file. Flags and defaults:

`, argv0, etcd.Version)
	set := defaults()
	o := options{Config: embed.NewConfig()}
	o.flags().VisitAll(func(f *flag.Flag) {
		fmt.Fprintf(&b, "  --%s %s\n", f.Name, cmp.Or(set[f.Name], f.DefValue))
	})
	return b.String()
}

// exposed returns warnings of what strangers could do at the URLs that are listened at.
func exposed(c *embed.Config) (warnings []string) {
	for _, u := range append(c.ListenClientUrls, c.ListenClientHttpUrls...) {
		if open(u, c.ClientTLSInfo.TrustedCAFile) {
			warnings = append(warnings, fmt.Sprintf("Listens at %s without asking clients for a certificate: whoever reaches it can redirect the whole network's traffic. "+
				"Let only the hosts of the network through a firewall, or use https with --trusted-ca-file", &u))
		}
	}
	for _, u := range c.ListenPeerUrls {
		if open(u, c.PeerTLSInfo.TrustedCAFile) {
			warnings = append(warnings, fmt.Sprintf("Listens at %s to members without asking for a certificate: whoever reaches it can write what he likes. "+
				"Let only the members through a firewall, or give --peer-cert-file, --peer-key-file and --peer-trusted-ca-file", &u))
		}
	}
	return warnings
}

// open reports whether other hosts reach a URL and need no certificate.
func open(u url.URL, ca string) bool {
	a, err := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || err == nil && a.Unmap().IsLoopback()
	return !loopback && (u.Scheme == "http" || ca == "")
}
