package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/options"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/datapath"
	"flanneld/pkg/smallfile"
	"flanneld/subnet"
	"flanneld/subnet/cache"
)

// Host is the host that is looked at.
type Host struct {
	Root    string // of its files: "/"
	Status  status.Status
	Options options.Daemon
	Args    []string     // that the daemon was started with
	Environ []string     // likewise
	Store   subnet.Store // nil: it cannot be asked, and StoreErr says why
	Kernel  datapath.Kernel

	StoreErr error
}

// mostSecret bounds a file with a password, in bytes.
const mostSecret = 64 << 10

// Redactor returns one that knows the passwords of the daemon. What it was started with is
// looked at as well: there are no Options if that has a mistake in it.
func (h *Host) Redactor() *Redactor {
	secrets := []string{string(h.Options.Etcd.Password)}
	for i, arg := range h.Args {
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if name == "etcd-password" && !joined && i+1 < len(h.Args) {
			value = h.Args[i+1]
		}
		if name == "etcd-password" {
			secrets = append(secrets, value)
		}
	}
	for _, v := range h.Environ {
		if value, ok := strings.CutPrefix(v, "FLANNELD_ETCD_PASSWORD="); ok {
			secrets = append(secrets, value)
		}
	}
	for _, path := range []string{h.Options.Etcd.PasswordFile, h.Options.Etcd.Credential} {
		if path != "" {
			text, _ := smallfile.Read(path, mostSecret) // else nobody has it
			secrets = append(secrets, string(text))
		}
	}
	return NewRedactor(secrets...)
}

// Entries returns what is looked at.
func (h *Host) Entries(r *Redactor) []Entry {
	return slices.Concat([]Entry{
		{"status.json", func(context.Context) (string, error) { return asJSON(h.Status) }},
		{"daemon/arguments.txt", func(context.Context) (string, error) { return r.Arguments(h.Args), nil }},
		{"daemon/environment.txt", func(context.Context) (string, error) { return r.Environ(h.Environ), nil }},
		{"etcd/config.json", h.config},
		{"etcd/leases.json", h.leases},
		{"kernel/version.txt", version},
		{"kernel/overlay.txt", h.overlay},
		{"kernel/sysctl.txt", h.sysctls},
	}, h.files(r), h.commands())
}

// files are those that the daemon and Docker go by.
func (h *Host) files(r *Redactor) []Entry {
	o := h.Options
	all := []Entry{
		file(h.Root, o.SubnetFile),
		file(h.Root, filepath.Join(filepath.Dir(o.SubnetFile), "docker")),
		file(h.Root, filepath.Join(o.StateDir, cache.File)),
		file(h.Root, "/etc/docker/daemon.json"),
		file(h.Root, "/etc/os-release"),
		file(h.Root, "/proc/net/snmp"),
	}
	for _, path := range []string{"/etc/default/flanneld", "/etc/sysconfig/flanneld"} {
		all = append(all, Entry{"files" + path, func(context.Context) (string, error) {
			text, err := readFile(h.Root, path)
			return r.Environ(strings.Split(strings.TrimSuffix(text, "\n"), "\n")), err
		}})
	}
	return all
}

// commands are programs that may be there.
func (h *Host) commands() []Entry {
	all := []Entry{
		command("journal.txt", "journalctl", "--unit=flanneld", "--no-pager", "--output=short-iso-precise", "--lines=5000"),
		command("systemd/status.txt", "systemctl", "status", "flanneld", "docker", "--no-pager", "--lines=0"),
		command("systemd/units.txt", "systemctl", "cat", "flanneld", "docker", "--no-pager"),
		command("kernel/links.txt", "ip", "-d", "-s", "link"),
		command("kernel/addresses.txt", "ip", "addr"),
		command("kernel/routes.txt", "ip", "route", "show", "table", "all"),
		command("kernel/routes6.txt", "ip", "-6", "route", "show", "table", "all"),
		command("kernel/rules.txt", "ip", "rule"),
		command("kernel/rules6.txt", "ip", "-6", "rule"),
		command("kernel/neighbours.txt", "ip", "-s", "neigh"),
		command("kernel/fdb.txt", "bridge", "fdb"),
		command("kernel/sockets.txt", "ss", "-lnup"),
		command("firewall/iptables.txt", "iptables-save", "-c"),
		command("firewall/ip6tables.txt", "ip6tables-save", "-c"),
		command("firewall/iptables-legacy.txt", "iptables-legacy-save", "-c"),
		command("firewall/ip6tables-legacy.txt", "ip6tables-legacy-save", "-c"),
		command("firewall/nftables.txt", "nft", "list", "ruleset"),
		command("versions/docker.txt", "dockerd", "--version"),
		command("versions/iptables.txt", "iptables", "--version"),
		command("versions/nft.txt", "nft", "--version"),
		command("versions/systemd.txt", "systemctl", "--version"),
	}
	for _, device := range []string{h.Status.Underlay.Interface, h.Status.Backend.Device} {
		if device != "" {
			all = append(all, command("kernel/filters-"+device+"-ingress.txt", "tc", "filter", "show", "dev", device, "ingress"),
				command("kernel/filters-"+device+"-egress.txt", "tc", "filter", "show", "dev", device, "egress"))
		}
	}
	return all
}

// askTime is the longest time for which etcd is asked.
const askTime = 5 * time.Second

func (h *Host) config(ctx context.Context) (string, error) {
	if h.Store == nil {
		return "", h.StoreErr
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	doc, err := h.Store.Config(ctx)
	return string(doc.Raw), err
}

func (h *Host) leases(ctx context.Context) (string, error) {
	if h.Store == nil {
		return "", h.StoreErr
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	all, _, err := h.Store.Leases(ctx)
	if err != nil {
		return "", err
	}
	return asJSON(all)
}

// overlay is what daemons have put into the kernel, as the commands that would.
func (h *Host) overlay(ctx context.Context) (string, error) {
	owners, err := host.Owners()
	errs := []error{err}
	var text strings.Builder
	read := func(s datapath.Scope) {
		have, err := h.Kernel.Read(ctx, s)
		errs = append(errs, err)
		for _, op := range datapath.Diff(have, datapath.State{}) {
			fmt.Fprintln(&text, op)
		}
	}
	for _, owner := range owners {
		read(datapath.Scope{Owner: owner, Protocol: host.RouteProtocol})
	}
	n := h.Status.Network
	networks := slices.DeleteFunc([]netip.Prefix{n.Network, n.NetworkV6}, func(p netip.Prefix) bool { return !p.IsValid() })
	read(datapath.Scope{Networks: networks, Protocol: host.RouteProtocol})
	return text.String(), errors.Join(errs...)
}

// sysctls are those that forwarding depends on.
func (h *Host) sysctls(context.Context) (string, error) {
	var text strings.Builder
	for _, pattern := range []string{
		"net/ipv4/ip_forward", "net/ipv4/conf/*/forwarding", "net/ipv4/conf/*/rp_filter", "net/ipv4/conf/*/accept_local", "net/ipv4/ip_no_pmtu_disc",
		"net/ipv4/ping_group_range", "net/ipv4/neigh/default/gc_thresh*", "net/ipv6/neigh/default/gc_thresh*", "net/ipv6/conf/*/forwarding",
		"net/ipv6/conf/*/disable_ipv6", "net/bridge/bridge-nf-call-*", "net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max",
		"net/core/bpf_jit_*", "kernel/unprivileged_bpf_disabled",
	} {
		base := filepath.Join(h.Root, "proc/sys")
		paths, err := filepath.Glob(filepath.Join(base, pattern))
		if err != nil {
			return "", err
		}
		for _, path := range paths {
			value, err := smallfile.Read(path, mostText)
			if err != nil {
				value = []byte("(" + err.Error() + ")")
			}
			fmt.Fprintf(&text, "%s = %s\n", strings.TrimPrefix(path, base+"/"), strings.TrimSpace(string(value)))
		}
	}
	return text.String(), nil
}

func version(context.Context) (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	text := func(b []byte) string { return unix.ByteSliceToString(b) }
	return strings.Join([]string{text(u.Sysname[:]), text(u.Nodename[:]), text(u.Release[:]), text(u.Version[:]), text(u.Machine[:])}, " ") + "\n", nil
}

func asJSON(v any) (string, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return string(text) + "\n", err
}
