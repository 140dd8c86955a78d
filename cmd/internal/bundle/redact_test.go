package bundle

import (
	"strings"
	"testing"
)

func TestTextHidesSecrets(t *testing.T) {
	r := NewRedactor("pa ss/w@rd\n", "abc")
	for _, tt := range []struct{ name, text, want string }{
		{"a password that is known", "x pa ss/w@rd y", "x *** y"},
		{"in a URL", "https://root:pa%20ss%2Fw%40rd@h1:2379/v2", "https://***@h1:2379/v2"},
		{"as JSON has it", `{"a":"pa ss/w@rd"}`, `{"a":"***"}`},
		{"one that is too short to look for", "abcdef", "abcdef"},
		{"whoever a URL names", `Get "http://u:p@h1:2379/v2": x`, `Get "http://***@h1:2379/v2": x`},
		{"several URLs", "--etcd-endpoints=http://u:p@h1:2379,https://u2@h2:2379,http://h3:1", "--etcd-endpoints=http://***@h1:2379,https://***@h2:2379,http://h3:1"},
		{"a password with everything in it", "http://u:p,a/s@s:w@h1:2379 next", "http://***@h1:2379 next"},
		{"no user", "http://h1:2379/a?b=c", "http://h1:2379/a?b=c"},
		{"a variable", "FLANNELD_ETCD_PASSWORD=two words\nFLANNELD_V=1", "FLANNELD_ETCD_PASSWORD=***\nFLANNELD_V=1"},
		{"one that is commented out", "# export FLANNELD_ETCD_PASSWORD=x y", "# export FLANNELD_ETCD_PASSWORD=***"},
		{"a quoted one", `API_TOKEN="two \" words" B=1`, `API_TOKEN="***" B=1`},
		{"the name of a file", "FLANNELD_ETCD_PASSWORD_FILE=/etc/p\n--etcd-password-file=/etc/p --etcd-keyfile=/etc/k", "FLANNELD_ETCD_PASSWORD_FILE=/etc/p\n--etcd-password-file=/etc/p --etcd-keyfile=/etc/k"},
		{"etcd's prefix", "FLANNEL_ETCD_KEY=/coreos.com/network", "FLANNEL_ETCD_KEY=/coreos.com/network"},
		{"a flag", "flanneld --etcd-password geheim --v 1", "flanneld --etcd-password *** --v 1"},
		{"a flag with =", "flanneld --etcd-password=geheim --v=1", "flanneld --etcd-password=*** --v=1"},
		{"JSON", `{"PSK": "a\"b", "auths": {"r": {"auth": "dTpw"}}, "Network": "10.5.0.0/16"}`, `{"PSK": "***", "auths": {"r": {"auth": "***"}}, "Network": "10.5.0.0/16"}`},
		{"JSON in a quoted text", `err="{\"token\":\"a b\",\"code\":1}"`, `err="{\"token\":\"***\",\"code\":1}"`},
		{"a header", "Authorization: Basic dTpw\nAuthorization: Bearer a.b.c", "Authorization: ***\nAuthorization: ***"},
		{"a header in a line", "sent Bearer eyJh.bG.ci and got 401", "sent Bearer *** and got 401"},
		{"no header", "basic authentication is off", "basic authentication is off"},
		{"a key", "a\n-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nb", "a\n***\nb"},
		{"a key that is cut off", "-----BEGIN PRIVATE KEY-----\nMHc", "***"},
		{"a certificate", "-----BEGIN CERTIFICATE-----\nMHc", "-----BEGIN CERTIFICATE-----\nMHc"},
		{"a unit's environment", "[Service]\nEnvironment=A=b \"C=d e\" FLANNELD_X=y\nUser=z", "[Service]\nEnvironment=A=*** C=*** FLANNELD_X=***\nUser=z"},
		{"what the log says", "W0101 a.go:1] the password of etcd is wrong; give another user=root", "W0101 a.go:1] the password of etcd is wrong; give another user=root"},
		{"addresses, rules and MACs", "-A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT # aa:bb:cc:dd:ee:ff", "-A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT # aa:bb:cc:dd:ee:ff"},
	} {
		got := r.Text(tt.text)
		if got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		if again := r.Text(got); again != got {
			t.Errorf("%s: once more it is %s", tt.name, again)
		}
	}
	if got, want := r.Environ([]string{"PATH=/bin", "FLANNELD_V=1", "FLANNELD_ETCD_PASSWORD=x", "odd"}), "PATH=***\nFLANNELD_V=1\nFLANNELD_ETCD_PASSWORD=***\nodd=***\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func FuzzText(f *testing.F) {
	f.Add("http://a:b@c,d@e", "\n")
	f.Add(`token="`, `\"`)
	f.Add("-----BEGIN PRIVATE KEY-----", "Environment=")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "Wo3Zeiquah"
		if got := NewRedactor(secret).Text(before + secret + after); strings.Contains(got, secret) {
			t.Errorf("%q, which is known, is in %q", secret, got)
		}
		for _, s := range []string{"FLANNELD_ETCD_PASSWORD=" + secret, "https://root:" + secret + "@h1:2379", "Authorization: Bearer " + secret, `"token": "` + secret + `"`} {
			if got := NewRedactor().Text(before + "\n" + s + "\n" + after); strings.Contains(got, secret) {
				t.Errorf("%q is in %q", s, got)
			}
		}
	})
}
