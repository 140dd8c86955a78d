package main

import (
	"net/netip"
	"net/url"
	"path/filepath"
)

// credential is the name that systemd's LoadCredential= gives the password.
const credential = "etcd-password"

// checkPassword picks the place of etcd's password: the flag or its variable,
// the file, systemd's credential.
func (v flagValues) checkPassword(o *options, env map[string]string) (warnings []string) {
	file := v.text("etcd-password-file")
	switch {
	case o.EtcdPassword != "" && file != "":
		warnings = append(warnings, v.from("etcd-password-file")+" has no effect beside "+v.from("etcd-password"))
	case o.EtcdPassword == "":
		o.EtcdPasswordFile = file
	}
	if o.EtcdUsername == "" {
		for _, name := range []string{"etcd-password", "etcd-password-file"} {
			if v.text(name) != "" {
				warnings = append(warnings, v.from(name)+" has no effect without --etcd-username")
			}
		}
		return warnings
	}
	if dir := env["CREDENTIALS_DIRECTORY"]; dir != "" && o.EtcdPassword == "" && file == "" {
		o.EtcdCredential = filepath.Join(dir, credential)
	}
	for _, e := range o.EtcdEndpoints {
		if u, err := url.Parse(e); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
			return append(warnings, "the password for etcd is sent in the clear to "+u.Host+": give etcd a certificate and write https://")
		}
	}
	return warnings
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || host == "localhost"
}
