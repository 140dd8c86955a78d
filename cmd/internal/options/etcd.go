package options

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"flanneld/pkg/flagtable"
	"flanneld/pkg/tlsfile"
	"flanneld/subnet/etcd"
)

// Etcd says how to reach etcd, and what in it is this network's.
type Etcd struct {
	Endpoints    []string // client URLs, http or https; at least one, or nil with SRV
	Prefix       string   `log:"etcdPrefix"`   // key below which everything lies; starts with "/", ends without
	KeyFile      string   `log:"etcdKeyfile"`  // client key, PEM; set if and only if CertFile is
	CertFile     string   `log:"etcdCertfile"` // client certificate, PEM
	CAFile       string   `log:"etcdCAFile"`   // root certificates, PEM; empty: the system's
	Username     string   `log:"etcdUsername"` // empty: no authentication
	Password     Secret
	PasswordFile string `log:"etcdPasswordFile"` // holds the password; empty if Password is set
	// Credential is the file where systemd puts a password. It is used if it exists
	// and there are a user, no Password and no PasswordFile.
	Credential string
	API        string `log:"etcdAPI"`   // APIv2 or APIv3; APIAuto: the one in which the configuration lies
	SRV        string `log:"etcdSRV"`   // domain whose SRV records name the endpoints; empty: none
	Proxy      string `log:"etcdProxy"` // URL of the proxy to reach etcd by; empty: none
}

// The values of Etcd.API.
const (
	APIAuto = "auto"
	APIv2   = "v2"
	APIv3   = "v3"
)

// DefaultPrefix is the prefix of the network that has no other.
const DefaultPrefix = "/coreos.com/network"

// credential is the name that systemd's LoadCredential= gives the password.
const credential = "etcd-password"

// flags returns the flags that set e. The variables beside their own are those of
// /etc/sysconfig/flanneld that units of some distributions turned into flags, the
// older names last.
func (e *Etcd) flags() []flagtable.Flag {
	return in("Store",
		flagtable.Flag{Name: "etcd-endpoints", Set: endpoints(&e.Endpoints), Default: "http://127.0.0.1:4001,http://127.0.0.1:2379", Arg: "URLS",
			Vars: []string{"FLANNEL_ETCD_ENDPOINTS", "FLANNEL_ETCD"}, Help: "etcd client URLs, separated by commas"},
		flagtable.Flag{Name: "etcd-srv", Set: flagtable.Parsed(&e.SRV, "give a domain such as example.com", domain), Arg: "DOMAIN",
			Help: "find etcd by this domain's SRV records _etcd-client-ssl._tcp, or _etcd-client._tcp if there are none; instead of --etcd-endpoints"},
		flagtable.Flag{Name: "etcd-api", Set: flagtable.Choice(&e.API, APIAuto, APIv2, APIv3), Default: APIAuto, Arg: "API",
			Help: "etcd's API: v2, v3 or auto; auto uses v2 if it has the network's configuration, else v3 if that has one, else the first that gets one"},
		flagtable.Flag{Name: "etcd-prefix", Set: prefix(&e.Prefix), Default: DefaultPrefix, Arg: "KEY",
			Vars: []string{"FLANNEL_ETCD_PREFIX", "FLANNEL_ETCD_KEY"}, Help: "key below which configuration and leases are stored"},
		flagtable.Flag{Name: "etcd-keyfile", Set: flagtable.Text(&e.KeyFile), Arg: "FILE", Help: "client key for etcd, PEM; needs --etcd-certfile"},
		flagtable.Flag{Name: "etcd-certfile", Set: flagtable.Text(&e.CertFile), Arg: "FILE", Help: "client certificate for etcd, PEM; needs --etcd-keyfile"},
		flagtable.Flag{Name: "etcd-cafile", Set: flagtable.Text(&e.CAFile), Arg: "FILE", Help: "certificate authorities that sign etcd's certificates, PEM"},
		flagtable.Flag{Name: "etcd-username", Set: flagtable.Text(&e.Username), Arg: "NAME", Help: "user name for etcd"},
		flagtable.Flag{Name: "etcd-password", Set: flagtable.Text((*string)(&e.Password)), Dashes: true, Arg: "PASSWORD",
			Help: "password for etcd; every user of this host can read arguments, so prefer the environment or a file"},
		flagtable.Flag{Name: "etcd-password-file", Set: flagtable.Text(&e.PasswordFile), Arg: "FILE",
			Help: "file with the password for etcd, read again when it changes; without it, systemd's credential etcd-password"},
		flagtable.Flag{Name: "etcd-proxy", Set: proxy(&e.Proxy), Arg: "URL",
			Help: "HTTP proxy for etcd; without it, etcd is reached directly, whatever HTTP_PROXY and HTTPS_PROXY say"})
}

// Credentials says where what etcd is shown of this host lies.
func (e *Etcd) Credentials() etcd.Credentials {
	return etcd.Credentials{TLS: tlsfile.Files{Cert: e.CertFile, Key: e.KeyFile, CA: e.CAFile},
		Username: e.Username, Password: string(e.Password), File: e.PasswordFile, Credential: e.Credential, Proxy: e.Proxy}
}

// check looks at what several flags say together, and picks the place of the
// password: the flag or its variable, the file, systemd's credential.
func (e *Etcd) check(given flagtable.Given, env flagtable.Env) (warnings []string, err error) {
	warn := func(name, text string) { warnings = append(warnings, given.From(name)+" "+text) }
	if (e.CertFile == "") != (e.KeyFile == "") {
		have, lack := "etcd-certfile", "etcd-keyfile"
		if e.CertFile == "" {
			have, lack = lack, have
		}
		return nil, UsageError{
			Msg:  fmt.Sprintf("%s is given without --%s", given.From(have), lack),
			Hint: "a client certificate needs both; leave both out to use none",
		}
	}
	if e.SRV != "" {
		if _, ok := given["etcd-endpoints"]; ok {
			return nil, UsageError{Msg: given.From("etcd-srv") + " and " + given.From("etcd-endpoints") + " are given", Hint: "name etcd by one of them"}
		}
		e.Endpoints = nil
	}
	if e.Username == "" {
		if e.Password != "" {
			warn("etcd-password", "has no effect without --etcd-username")
		}
		if e.PasswordFile != "" {
			warn("etcd-password-file", "has no effect without --etcd-username")
		}
	}
	if e.Password != "" && e.PasswordFile != "" {
		warn("etcd-password-file", "has no effect beside "+given.From("etcd-password"))
		e.PasswordFile = ""
	}
	if dir := env["CREDENTIALS_DIRECTORY"]; dir != "" && e.Username != "" && e.Password == "" && e.PasswordFile == "" {
		e.Credential = filepath.Join(dir, credential)
	}
	if e.Username != "" && e.Password == "" && e.PasswordFile == "" && e.Credential == "" {
		warn("etcd-username", "is given without a password: set FLANNELD_ETCD_PASSWORD, or give --etcd-password-file or systemd's credential etcd-password")
	}
	if i := slices.IndexFunc(e.Endpoints, inTheClear); i >= 0 && e.Username != "" {
		host := strings.TrimPrefix(e.Endpoints[i], "http://")
		warnings = append(warnings, "the password for etcd is sent in the clear to "+host+": give etcd a certificate and write https://")
	}
	if e.TLSUnused() {
		text := "the TLS files have no effect: no endpoint of " + given.From("etcd-endpoints") + " is https"
		if e.API == APIv3 {
			return nil, UsageError{Msg: text, Hint: TLSHint}
		}
		warnings = append(warnings, text+", so etcd is reached in the clear")
	}
	return warnings, nil
}

// TLSHint is what to do about TLS files that have no effect.
const TLSHint = "write https:// in --etcd-endpoints, or leave --etcd-cafile, --etcd-certfile and --etcd-keyfile out"

// TLSUnused reports whether there are TLS files, and no endpoint that they are for. Units of
// clusters with the v2 API have had that for years, so that it is an error with v3 alone.
func (e *Etcd) TLSUnused() bool {
	https := slices.ContainsFunc(e.Endpoints, func(s string) bool { return strings.HasPrefix(s, "https:") })
	return (e.CertFile != "" || e.CAFile != "") && !https && e.SRV == ""
}

// Secrets names what only connections with TLS may be shown, of which DNS alone says where
// they lead; empty: nothing.
func (e *Etcd) Secrets() string {
	switch {
	case e.Username != "":
		return "--etcd-username"
	case e.CertFile != "":
		return "--etcd-certfile"
	case e.CAFile != "":
		return "--etcd-cafile"
	}
	return ""
}

// inTheClear reports whether what is sent to an endpoint crosses the network
// without encryption.
func inTheClear(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !a.IsLoopback())
}

// domain takes a domain, or nothing.
func domain(value string) (string, bool) {
	value = strings.TrimSuffix(strings.TrimSpace(value), ".")
	_, err := netip.ParseAddr(value)
	return value, value == "" || len(value) <= 200 && hostName.MatchString(value) && err != nil
}

func prefix(into *string) flagtable.Setter {
	return func(value, from string) error {
		// etcd v2 cleans key paths by itself, v3 does not.
		if *into = path.Clean("/" + strings.TrimSpace(value)); *into == "/" {
			return UsageError{Msg: from + " names no key", Hint: "give a key such as " + DefaultPrefix}
		}
		return nil
	}
}

func endpoints(into *[]string) flagtable.Setter {
	return func(value, from string) error {
		*into = words(value) // a template may end the list with a comma
		if len(*into) == 0 {
			return UsageError{Msg: from + " names no endpoint", Hint: "give URLs such as http://127.0.0.1:2379, separated by commas"}
		}
		for _, e := range *into {
			if strings.Contains(e, "@") {
				return UsageError{Msg: from + " has credentials in an endpoint", Hint: "use --etcd-username and --etcd-password"}
			}
			if err := checkURL("endpoint", e, from); err != nil {
				return err
			}
		}
		return nil
	}
}

// proxy takes the URL of a proxy, or nothing.
func proxy(into *string) flagtable.Setter {
	return func(value, from string) error {
		if *into = strings.TrimSpace(value); *into == "" {
			return nil
		}
		if strings.Contains(value, "@") {
			return UsageError{Msg: from + " has credentials", Hint: "let the proxy know this host by its address"}
		}
		return checkURL("proxy", *into, from)
	}
}

// checkURL is only for a URL without credentials, which an error would repeat.
func checkURL(what, e, from string) error {
	const example = "http://127.0.0.1:2379"
	bad := func(hint string) error {
		return UsageError{Msg: fmt.Sprintf("invalid %s %q in %s", what, e, from), Hint: hint}
	}
	if !strings.Contains(e, "://") {
		return bad("put the scheme first: http://" + e)
	}
	u, err := url.Parse(e)
	if err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return bad("give a URL such as " + example)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return bad("the scheme must be http or https")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return bad("a port is 1 to 65535")
		}
	}
	return nil
}
