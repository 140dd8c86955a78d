package subnet

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestWritesTellWhoseALeaseIs(t *testing.T) {
	as := func(node, ip, data string) Lease { l := lease("10.1.7.0/24", ip, data); l.Node = node; return l }
	now, was := as("aaaa", me, "now"), as("aaaa", "192.0.2.7", "was")
	for _, tt := range []struct {
		name     string
		lease    Lease
		want     owner
		imitated bool
	}{
		{"what we wrote", now, ours, false},
		{"what we wrote earlier, at another address", was, ours, false},
		{"an older daemon's on this host", as("", me, "now"), ours, false},
		{"what we wrote earlier, as an older daemon", as("", "192.0.2.7", "was"), ours, false},
		{"an older daemon's that says something else", as("", me, "theirs"), ours, true},
		{"of our node id, with less to say", as("aaaa", me, ""), ours, false},
		{"of our node id, by another device", as("aaaa", me, "theirs"), ours, true},
		{"a copy's", as("aaaa", "192.0.2.9", "now"), duplicates, false},
		{"another node's with our PublicIP", as("bbbb", me, "now"), rivals, false},
		{"another host's", as("bbbb", "192.0.2.9", "now"), others, false},
		{"an older daemon's on another host", as("", "192.0.2.9", "now"), others, true},
	} {
		w := writes{was}
		if got := w.whose(tt.lease, now); got != tt.want {
			t.Errorf("%s: owner %d, want %d", tt.name, got, tt.want)
		}
		if got := w.imitated(tt.lease, now); got != tt.imitated {
			t.Errorf("%s: imitated: %t", tt.name, got)
		}
	}
}

func TestWritesAreTheLastFew(t *testing.T) {
	var w writes
	for i := range 20 {
		w.add(lease("10.1.7.0/24", fmt.Sprintf("192.0.2.%d", i)))
	}
	if len(w) != 8 || w[0].V4.PublicIP.String() != "192.0.2.12" {
		t.Errorf("%d writes, the first %v", len(w), w[0])
	}
}

func TestStaleLeasesAreOursAndLiveLong(t *testing.T) {
	held := lease("10.1.7.0/24", me)
	held.Node = "aaaa"
	var all []Lease
	for i, change := range []func(*Lease){
		func(*Lease) {},
		func(l *Lease) { l.V4.Subnet = held.V4.Subnet },
		func(l *Lease) { l.Node = "bbbb" },
		func(l *Lease) { l.Node = "" },
		func(l *Lease) { l.V4.PublicIP = lease("10.1.7.0/24", "192.0.2.9").V4.PublicIP },
		func(l *Lease) { l.Expires = time.Time{} },
		func(l *Lease) { l.Expires = time.Now().Add(time.Minute) },
	} {
		l := lease(fmt.Sprintf("10.1.%d.0/24", 20+i), me)
		l.Node = "aaaa"
		change(&l)
		all = append(all, l)
	}
	if got := (writes{}).stale(all, held, time.Now().Add(time.Hour)); len(got) != 1 || got[0] != all[0] {
		t.Errorf("stale: %v, want %v", got, all[:1])
	}
}

// Values are logged when two hosts have one address, and can be of any length.
func TestWhatALeaseSaysIsLoggedInShort(t *testing.T) {
	l := lease("10.1.7.0/24", me, strings.Repeat("x", 60_000))
	l.Type = strings.Repeat("y", 60_000)
	l.V6 = l.V4
	if n := len(l.data()); n > 400 {
		t.Errorf("%d bytes are logged", n)
	}
}
