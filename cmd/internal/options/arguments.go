package options

import (
	"cmp"
	"slices"
	"strings"

	"flanneld/pkg/flagtable"
)

// Arguments returns e as a shell has it: what is no default, as flags of flannelctl with a blank
// before each. A password is left out.
func (e *Etcd) Arguments() string {
	var b strings.Builder
	add := func(flag, value string) {
		row := slices.IndexFunc(e.flags(), func(f flagtable.Flag) bool { return f.Name == flag })
		if value != "" && value != e.flags()[row].Default {
			b.WriteString(" --" + flag + "=" + shellWord(value))
		}
	}
	add("etcd-endpoints", strings.Join(e.Endpoints, ","))
	add("etcd-srv", e.SRV)
	add("etcd-api", e.API)
	add("etcd-prefix", e.Prefix)
	add("etcd-keyfile", e.KeyFile)
	add("etcd-certfile", e.CertFile)
	add("etcd-cafile", e.CAFile)
	add("etcd-username", e.Username)
	add("etcd-password-file", cmp.Or(e.PasswordFile, e.Credential))
	add("etcd-proxy", e.Proxy)
	return b.String()
}

// shellWord quotes what a shell would not take as it is.
func shellWord(s string) string {
	const plain = "/:.,_-@=%+"
	special := func(r rune) bool {
		return !strings.ContainsRune(plain, r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}
	if !strings.ContainsFunc(s, special) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
