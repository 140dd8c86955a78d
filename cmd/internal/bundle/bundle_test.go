package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"flanneld/cmd/internal/options"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/datapath/fake"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// planted is a secret, and a word beside it by which one sees that its source was read.
func planted(source string) (secret, mark string) {
	return "SECRET-" + strings.ToUpper(source), "seen-" + strings.ToLower(source)
}

// talkative is a store whose documents have secrets in them.
type talkative struct{ subnet.Store }

func (talkative) Config(context.Context) (config.Document, error) {
	secret, mark := planted("config")
	return config.Document{Raw: []byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"ipsec","PSK":"` + secret + `","Mark":"` + mark + `"}}`)}, nil
}

func (talkative) Leases(context.Context) ([]subnet.Lease, subnet.Revision, error) {
	secret, mark := planted("leases")
	return []subnet.Lease{{Type: mark, V4: subnet.Claim{Subnet: netip.MustParsePrefix("10.5.1.0/24"), PublicIP: netip.MustParseAddr("192.0.2.1"),
		Data: `{"token":"` + secret + `"}`}}}, 1, nil
}

// aHost has a secret in every place from which something comes into a bundle. The password
// of etcd, which is known, is in all of them as well.
func aHost(t *testing.T) (h *Host, marks, secrets []string) {
	t.Helper()
	plant := func(source string) (secret, mark string) {
		secret, mark = planted(source)
		secrets, marks = append(secrets, secret), append(marks, mark)
		return secret, mark
	}
	const password = "the-KNOWN-passw0rd"
	secrets = append(secrets, password)
	root, bin := t.TempDir(), t.TempDir()
	write := func(path, text string, mode os.FileMode) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode)); err != nil {
			t.Fatal(err)
		}
	}
	passwordFile := filepath.Join(root, "password")
	write(passwordFile, password+"\n", 0o600)

	h = &Host{Root: root, Store: talkative{}, Kernel: fake.New()}
	h.Options.SubnetFile, h.Options.StateDir = "/run/flannel/subnet.env", "/var/lib/flannel"
	h.Options.Etcd.PasswordFile = passwordFile
	secret, mark := plant("status")
	h.Status = status.Status{Text: mark, Underlay: status.Underlay{Interface: "eth0"}, Backend: status.Backend{Device: "flannel.1"}}
	h.Status.Etcd.LastError = `Get "https://root:` + secret + `@h1:2379/v2/keys": refused ` + password
	secret, mark = plant("arguments")
	h.Args = []string{"--etcd-endpoints=https://root:" + secret + "@h1:2379", "--iface=" + mark}
	secret, mark = plant("environment")
	other, _ := planted("other-variable")
	secrets = append(secrets, other)
	h.Environ = []string{"FLANNELD_ETCD_PASSWORD=" + secret, "FLANNELD_IFACE=" + mark, "NAME_OF_NOTHING=" + other}
	secret, mark = plant("header")
	h.Environ = append(h.Environ, "FLANNEL_OPTIONS=--iface="+mark+" --etcd-password "+secret)
	for source, file := range map[string]string{
		"subnetenv": "/run/flannel/subnet.env", "docker-options": "/run/flannel/docker", "cache": "/var/lib/flannel/cluster",
		"default": "/etc/default/flanneld", "sysconfig": "/etc/sysconfig/flanneld", "daemonjson": "/etc/docker/daemon.json", "release": "/etc/os-release",
		"snmp": "/proc/net/snmp", "sysctl": "/proc/sys/net/ipv4/ip_forward",
	} {
		secret, mark := plant(source)
		write(filepath.Join(root, file), "FLANNELD_ETCD_PASSWORD="+secret+"\nFLANNELD_X="+mark+"\nFLANNELD_Y="+password+"\n", 0o600)
	}
	for _, e := range h.commands() {
		// The entry says which program it calls when that is not there.
		t.Setenv("PATH", bin)
		_, err := e.Read(t.Context())
		program, _, missing := strings.Cut(fmt.Sprint(err), " is not installed")
		if !missing { // it was made for an entry before
			continue
		}
		secret, mark := plant(program)
		write(filepath.Join(bin, program), "#!/bin/sh\necho '"+mark+"'\necho 'Environment=A="+secret+" B=c'\necho 'x --etcd-password "+secret+" y'\necho 'http://root:"+
			secret+"@h1:2379 and "+password+"'\necho 'password="+secret+"' >&2\necho '-----BEGIN RSA PRIVATE KEY-----'\necho '"+secret+"'\nexit 3\n", 0o755)
	}
	for _, source := range []string{"config", "leases"} {
		plant(source)
	}
	return h, marks, secrets
}

// unpack returns the texts of an archive by their names.
func unpack(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	zip, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	all, archive := make(map[string]string), tar.NewReader(zip)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = string(text)
	}
}

func TestABundleHasEverySourceAndNoSecret(t *testing.T) {
	h, marks, secrets := aHost(t)
	redact := h.Redactor()
	var out bytes.Buffer
	items, err := Write(t.Context(), &out, "debug", h.Entries(redact), redact)
	if err != nil {
		t.Fatal(err)
	}
	all := unpack(t, &out)
	var whole strings.Builder
	for name, text := range all {
		whole.WriteString(name + "\n" + text)
	}
	for _, secret := range secrets {
		for name, text := range all {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s:\n%s", secret, name, text)
			}
		}
	}
	if len(marks) < 25 {
		t.Errorf("only %d sources", len(marks))
	}
	for _, mark := range marks {
		if !strings.Contains(whole.String(), mark) {
			t.Errorf("what has %q is not in it", mark)
		}
	}
	for _, i := range items {
		if text := all["debug/"+i.Name]; len(text) != i.Bytes || !strings.Contains(all["debug/contents.txt"], i.String()+"\n") {
			t.Errorf("%d bytes of %s", len(text), i)
		}
	}
	if i := slices.IndexFunc(items, func(i Item) bool { return i.Name == "journal.txt" }); items[i].Error != "exit status 3" {
		t.Errorf("%+v", items[i])
	}
}

func TestABundleHidesAPasswordOfOptionsWithAMistake(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, tt := range []struct {
		name, secret, want string
		args, environ      []string
	}{
		{"an argument of its own", "s3cretpw", "--etcd-password\n***\n--typo=1\n", []string{"--etcd-password", "s3cretpw", "--typo=1"}, nil},
		{"one dash", "s3cretpw", "-etcd-password\n***\n", []string{"-etcd-password", "s3cretpw"}, nil},
		{"a password like a flag", "-s3cret=pw", "--etcd-password\n***\n", []string{"--etcd-password", "-s3cret=pw"}, []string{"FLANNEL_OPTIONS=--etcd-password -s3cret=pw"}},
		{"with =", "two words", "--etcd-password=***\n", []string{"--etcd-password=two words"}, nil},
		{"a misspelt flag", "s3cretpw", "--etcd-passwd\n***\n", []string{"--etcd-passwd", "s3cretpw"}, nil},
		{"the name of a file", "s3cretpw", "--etcd-password-file\n/etc/p\n", []string{"--etcd-password-file", "/etc/p"}, []string{"FLANNELD_ETCD_PASSWORD=s3cretpw", "FLANNEL_OPTIONS=a s3cretpw b"}},
		{"nothing after it", "s3cretpw", "--etcd-password\n", []string{"--etcd-password"}, nil},
	} {
		h := &Host{Root: t.TempDir(), Kernel: fake.New(), StoreErr: errors.New("no options"), Args: tt.args, Environ: tt.environ}
		redact := h.Redactor()
		var out bytes.Buffer
		if _, err := Write(t.Context(), &out, "debug", h.Entries(redact), redact); err != nil {
			t.Fatal(err)
		}
		all := unpack(t, &out)
		if got := all["debug/daemon/arguments.txt"]; got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		for name, text := range all {
			if strings.Contains(text, tt.secret) {
				t.Errorf("%s: %q is in %s:\n%s", tt.name, tt.secret, name, text)
			}
		}
	}
}

func TestABundleIsWrittenWhateverIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	h := &Host{Root: t.TempDir(), Kernel: fake.New(), StoreErr: errors.New("dial tcp 192.0.2.9:2379: connection refused"),
		Options: options.Daemon{SubnetFile: "/run/flannel/subnet.env", StateDir: "/var/lib/flannel"}}
	redact := h.Redactor()
	var out bytes.Buffer
	items, err := Write(t.Context(), &out, "debug", h.Entries(redact), redact)
	if err != nil {
		t.Fatal(err)
	}
	all := unpack(t, &out)
	for name, why := range map[string]string{"etcd/leases.json": "connection refused", "journal.txt": "journalctl is not installed", "files/run/flannel/subnet.env": "there is none"} {
		i := slices.IndexFunc(items, func(i Item) bool { return i.Name == name })
		if _, there := all["debug/"+name]; i < 0 || there || items[i].Bytes != 0 || !strings.Contains(items[i].Error, why) {
			t.Errorf("%s: %+v", name, items[max(i, 0)])
		}
	}
	if !strings.Contains(all["debug/status.json"], `"ready": false`) {
		t.Errorf("%v", all)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := Write(ended, &out, "debug", h.Entries(redact), redact); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestALongTextIsCut(t *testing.T) {
	b := new(bounded)
	for range 5 {
		if n, err := b.Write(make([]byte, mostText/4)); n != mostText/4 || err != nil {
			t.Fatal(n, err)
		}
	}
	if b.Len() != mostText || !b.cut {
		t.Errorf("%d bytes, %v", b.Len(), b.cut)
	}
}
