package options

import (
	"strconv"
	"strings"
	"testing"
)

// TestLegacyFlags gives every legacy flag a value of its own and its default.
func TestLegacyFlags(t *testing.T) {
	for _, s := range legacy() {
		other := "x"
		if s.Bool {
			other = strconv.FormatBool(s.Default != "true")
		}
		def := s.Default
		if def == "" && s.Bool {
			def = "false"
		}
		want := 1
		if s.Quiet {
			want = 0
		}
		for _, in := range []struct {
			value string
			want  int
			ok    bool
		}{{other, want, s.Refuse == ""}, {def, 0, true}} {
			for from, call := range map[string][2][]string{
				"--" + s.Name:                       {{"-" + s.Name + "=" + in.value}, nil},
				table(new(Daemon)).Variable(s.Name): {nil, {table(new(Daemon)).Variable(s.Name) + "=" + in.value}},
			} {
				want := in.want
				if in.value == "" {
					want = 0
				}
				_, warnings, err := Parse(call[0], call[1])
				if (err == nil) != in.ok {
					t.Errorf("%q: error %v", call, err)
					continue
				}
				if err == nil && len(warnings) != want {
					t.Errorf("%q: warnings %q, want %d", call, warnings, want)
				}
				for _, w := range warnings {
					if !strings.HasPrefix(w, from+" ") {
						t.Errorf("%q: warning %q does not name its source", call, w)
					}
				}
			}
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		name      string
		args, env []string
		want      []string // one part of each warning
	}{
		{"flags of the firewall", []string{"--ip-masq", "--iptables-forward-rules=true", "--iptables-resync=5"}, []string{"FLANNELD_IP_MASQ_FULLY_RANDOM_DISABLE=true"}, nil},
		{"a legacy flag twice", []string{"--vmodule=a=1", "--vmodule=b=1"}, []string{"FLANNELD_VMODULE=c=1"}, []string{"--vmodule is ignored"}},
		{"unknown variables, sorted", nil, []string{"FLANNELD_ZZZZZZ=1", "FLANNELD_ETCD_ENDPOINT=http://a", "FLANNEL_X=1"},
			[]string{"FLANNELD_ETCD_ENDPOINT is unknown and ignored; did you mean FLANNELD_ETCD_ENDPOINTS?", "FLANNELD_ZZZZZZ is unknown and ignored"}},
		{"empty unknown variable", nil, []string{"FLANNELD_ZZZZZZ="}, nil},
		{"password alone", []string{"--etcd-password=x"}, nil, []string{"--etcd-password has no effect"}},
		{"password file alone", nil, []string{"FLANNELD_ETCD_PASSWORD_FILE=/p"}, []string{"FLANNELD_ETCD_PASSWORD_FILE has no effect without --etcd-username"}},
		{"password twice", []string{"--etcd-username=u", "--etcd-password-file=/p"}, []string{"FLANNELD_ETCD_PASSWORD=x"}, []string{"--etcd-password-file has no effect beside FLANNELD_ETCD_PASSWORD"}},
		{"user alone", []string{"--etcd-username=u", "--etcd-endpoints=https://a"}, nil, []string{"--etcd-username is given without a password: set FLANNELD_ETCD_PASSWORD"}},
		{"user with systemd's credentials", []string{"--etcd-username=u", "--etcd-endpoints=https://a"}, []string{"CREDENTIALS_DIRECTORY=/run/credentials/x"}, nil},
		{"password in the clear", []string{"--etcd-username=u", "--etcd-password=x", "--etcd-endpoints=http://localhost:1,http://[::1]:1,http://192.0.2.1:2379"}, nil, []string{"sent in the clear to 192.0.2.1:2379"}},
		{"password over TLS", []string{"--etcd-username=u", "--etcd-password=x", "--etcd-endpoints=https://a"}, nil, nil},
		{"TLS without https", []string{"--etcd-cafile=/ca"}, nil, []string{"no endpoint of --etcd-endpoints is https"}},
		{"TLS without https, v2", []string{"--etcd-api=v2", "--etcd-cafile=/ca"}, nil, []string{"so etcd is reached in the clear"}},
		{"TLS with one https", []string{"--etcd-cafile=/ca", "--etcd-endpoints=http://a,https://b"}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, got, err := Parse(tt.args, tt.env)
			if err != nil || len(got) != len(tt.want) {
				t.Fatalf("warnings %q, error %v; want %q", got, err, tt.want)
			}
			for i, w := range tt.want {
				if !strings.Contains(got[i], w) {
					t.Errorf("warning %q, want %q", got[i], w)
				}
			}
		})
	}
}

func TestSwallowedFlagWarns(t *testing.T) {
	o, warnings, err := Parse([]string{"--iface", "--ip-masq"}, nil)
	if err != nil || len(warnings) != 1 || o.IPMasq || len(o.Iface) != 1 {
		t.Errorf("iface %q, masq %v, warnings %q, error %v", o.Iface, o.IPMasq, warnings, err)
	}
}
