package options

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What a remedy is given leads another program to the same network.
func TestArgumentsAreReadBack(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"--etcd-endpoints=https://h1:2379,https://h2:2379", "--etcd-prefix=/a b's/$x", "--etcd-api=v3", "--etcd-cafile=/etc/ca.pem"},
			` --etcd-endpoints=https://h1:2379,https://h2:2379 --etcd-api=v3 --etcd-prefix='/a b'\''s/$x' --etcd-cafile=/etc/ca.pem`},
		{[]string{"--etcd-srv=example.com", "--etcd-username=root", "--etcd-password-file=/etc/p"}, " --etcd-srv=example.com --etcd-username=root --etcd-password-file=/etc/p"},
		{[]string{"--etcd-proxy=http://p:3128", "--etcd-certfile=/c", "--etcd-keyfile=/k", "--etcd-endpoints=https://h1:2379"},
			" --etcd-endpoints=https://h1:2379 --etcd-keyfile=/k --etcd-certfile=/c --etcd-proxy=http://p:3128"},
		{[]string{"--etcd-username=root", "--etcd-password=s3cret"}, " --etcd-username=root"},
	} {
		d, _, err := Parse(tt.args, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := d.Etcd.Arguments()
		if got != tt.want {
			t.Errorf("%q:\n%s\nwant\n%s", tt.args, got, tt.want)
		}
		shell, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\n'"+got).Output()
		if err != nil {
			t.Fatal(err)
		}
		words := slices.DeleteFunc(strings.Split(string(shell), "\n"), func(s string) bool { return s == "" })
		back, _, err := Parse(words, nil)
		d.Etcd.Password = ""
		if err != nil || back.String() != d.String() {
			t.Errorf("read back %s, %v, want %s", back, err, d)
		}
	}
}

// A flag that is added is among them, or is named here.
func TestArgumentsHaveEveryFlag(t *testing.T) {
	e := Etcd{Endpoints: []string{"x"}, Prefix: "x", KeyFile: "x", CertFile: "x", CAFile: "x", Username: "x", PasswordFile: "x", API: "x", SRV: "x", Proxy: "x"}
	all := e.Arguments() + " --etcd-password="
	for _, f := range e.flags() {
		if !strings.Contains(all, " --"+f.Name+"=") {
			t.Errorf("--%s is missing in %s", f.Name, all)
		}
	}
}
