package main

import (
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/subnet"
)

func TestJournalFields(t *testing.T) {
	fields := journalFields()
	for _, tt := range []struct {
		message string
		attrs   []slog.Attr
		want    map[string]string
	}{
		{"Subnet added: 10.5.3.0/24 via 192.0.2.3", nil, map[string]string{"FLANNEL_SUBNET": "10.5.3.0/24", "FLANNEL_PEER": "192.0.2.3", "MESSAGE_ID": "377cbdd95b2f487b8afff04d4af63db9"}},
		{"Subnet removed: fd00:5:0:3::/64", nil, map[string]string{"FLANNEL_SUBNET": "fd00:5:0:3::/64", "MESSAGE_ID": "89be6376ce6f4d28ad66b4dcb8910377"}},
		{"Lease is held", []slog.Attr{slog.Any("subnet", subnet.Key{V4: netip.MustParsePrefix("10.5.1.0/24")})}, map[string]string{"FLANNEL_SUBNET": "10.5.1.0/24", "MESSAGE_ID": "e3a3e5400a584bc2ac91309e33eced55"}},
		{"Large packets to a peer are lost", []slog.Attr{slog.Any("subnet", netip.MustParsePrefix("10.5.2.0/24")), slog.Any("peer", netip.MustParseAddr("192.0.2.2"))},
			map[string]string{"FLANNEL_SUBNET": "10.5.2.0/24", "FLANNEL_PEER": "192.0.2.2"}},
		{"Determining IP address of default interface", []slog.Attr{slog.String("peer", "x")}, map[string]string{}},
	} {
		tt.want["SYSLOG_IDENTIFIER"] = "flanneld"
		if diff := cmp.Diff(tt.want, fields(tt.message, tt.attrs)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.message, diff)
		}
	}
}

// TestChangesAreLines: an id whose line is worded anew would be found no more, so what the
// daemon says must have a line for each.
func TestChangesAreLines(t *testing.T) {
	source := new(strings.Builder)
	for _, dir := range []string{"backend", "subnet", "cmd", "pkg"} {
		err := filepath.WalkDir("../../"+dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "journal.go") {
				return err
			}
			text, err := os.ReadFile(path)
			source.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// What the source has of each line, in this order.
	says := []string{`"flannel is ready"`, `"Allocated lease (ip: %s `, `"Lease is "+words`, `return slog.LevelWarn, s.String()`, `"expired, as far as`, `"in conflict: `,
		`"Lease has been revoked`, `"Subnet added: %s via %s"`, `"Subnet removed: %s"`, `"Subnets added: %d`, `"Watch of subnet leases failed, etcd unreachable`,
		`"etcd is back`, `+" is not as it should be`, `+" is in step again"`, `"Others had changed the network state; it was put right"`, `Subject: "Firewall"`,
		`+" is in step again"`, `"Some iptables rules are missing; deleting and recreating rules"`}
	page, err := os.ReadFile("../../docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for i, c := range changes() {
		if !strings.Contains(source.String(), says[i]) {
			t.Errorf("%s: nothing says %s", c.name, says[i])
		}
		if len(c.id) != 32 || seen[c.id] {
			t.Errorf("%s: the id %s", c.name, c.id)
		}
		seen[c.id] = true
		if row := fmt.Sprintf("| %s | `%s` |", c.name, c.id); !strings.Contains(string(page), row) {
			t.Errorf("docs/logs.md has not: %s", row)
		}
	}
	if len(says) != len(changes()) {
		t.Error("a change has no line here")
	}
}
