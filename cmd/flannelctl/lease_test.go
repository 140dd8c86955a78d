package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"flanneld/cmd/internal/options"
	"flanneld/subnet"
	"flanneld/subnet/config"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// cluster is an etcd with a network in one of its APIs.
type cluster struct {
	t     *testing.T
	api   string
	url   string
	store keyspace
}

// eachAPI makes a test with a network in each of etcd's APIs; empty: without a configuration.
func eachAPI(t *testing.T, document string, test func(t *testing.T, c cluster)) {
	for _, api := range []string{options.APIv2, options.APIv3} {
		t.Run(api, func(t *testing.T) {
			url := etcdproc.Start(t)
			side, closed, err := open(api, options.Etcd{Prefix: options.DefaultPrefix}, []string{url}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(closed)
			c := cluster{t, api, url, side.Store.(keyspace)}
			if document != "" {
				c.setConfig(document)
			}
			test(t, c)
		})
	}
}

func (c cluster) setConfig(document string) {
	c.t.Helper()
	was, err := c.store.Config(c.t.Context())
	if err != nil && !errors.Is(err, config.ErrNone) {
		c.t.Fatal(err)
	}
	if err := c.store.WriteConfig(c.t.Context(), was, []byte(document)); err != nil {
		c.t.Fatal(err)
	}
}

func (c cluster) run(args ...string) (stdout, stderr string, status int) {
	c.t.Helper()
	return run(c.t, append(args, "--etcd-endpoints="+c.url)...)
}

// lease makes one; without a ttl a reservation.
func (c cluster) lease(subnets, ip, node string, ttl time.Duration) subnet.Lease {
	c.t.Helper()
	l := subnet.Lease{V4: subnet.Claim{Subnet: netip.MustParsePrefix(subnets), PublicIP: netip.MustParseAddr(ip), Data: `{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"}`},
		Type: "vxlan", Node: node}
	l, err := c.store.Create(c.t.Context(), l, ttl)
	if err != nil {
		c.t.Fatal(err)
	}
	return l
}

// read returns the lease on a subnet as it lies in etcd; false: there is none.
func (c cluster) read(subnets string) (subnet.Lease, bool) {
	c.t.Helper()
	n := &network{keyspace: c.store}
	all, err := n.leases(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	l, err := find(all, subnets)
	return l, err == nil
}

// says fails unless a call has a status, and its output and errors have these words.
func (c cluster) says(status int, out, errs string, args ...string) {
	c.t.Helper()
	o, e, s := c.run(args...)
	if s != status || !strings.Contains(o, out) || !strings.Contains(e, errs) || status == exitDone && strings.Contains(e, "error:") {
		c.t.Errorf("%s\nstatus %d, want %d, with %q and %q; it prints\n%s%s", strings.Join(args, " "), s, status, out, errs, o, e)
	}
}

const tenNet = `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`

func TestLeaseList(t *testing.T) {
	eachAPI(t, tenNet, func(t *testing.T, c cluster) {
		c.says(exitDone, "10.5.0.0/16 on "+c.api+": 0 of 255 subnets leased (0 %)\n", "", "lease", "list")
		c.lease("10.5.1.0/24", "192.0.2.1", "n1", 23*time.Hour+30*time.Second)
		c.lease("10.5.2.0/24", "192.0.2.2", "", 0)
		c.lease("10.6.3.0/24", "192.0.2.3", "n3", 2*time.Hour+time.Minute)
		out, errs, status := c.run("lease", "list")
		want := `SUBNET       PUBLIC IP  BACKEND  NODE  RENEWED  EXPIRES  NOTE
10.5.1.0/24  192.0.2.1  vxlan    n1    59m ago  in 23h   -
10.5.2.0/24  192.0.2.2  vxlan    -     -        never    -
10.6.3.0/24  192.0.2.3  vxlan    n3    21h ago  in 2h    not allowed by the configuration
10.5.0.0/16 on ` + c.api + `: 2 of 255 subnets leased (0 %), 1 reserved; 1 lease is not allowed by the configuration
`
		if out != want || errs != "" || status != exitDone {
			t.Errorf("status %d, %q, it prints\n%s\nwant\n%s", status, errs, out, want)
		}
		out, _, _ = c.run("lease", "list", "-o", "json")
		var list leaseList
		if err := json.Unmarshal([]byte(out), &list); err != nil || list.Schema != 1 || list.API != c.api || len(list.Leases) != 3 ||
			list.Network != (utilisation{Network: netip.MustParsePrefix("10.5.0.0/16"), Subnets: 255, Leased: 2, Reserved: 1, NotAllowed: 1}) {
			t.Fatalf("%v\n%s", err, out)
		}
		if l := list.Leases[0]; l.Node != "n1" || l.ExpiresSeconds < 82700 || l.ExpiresSeconds > 82830 || !l.Allowed || l.Revision == 0 {
			t.Errorf("%+v", l)
		}
		if l := list.Leases[1]; !l.Reserved || !l.Expires.IsZero() || !l.Renewed.IsZero() {
			t.Errorf("%+v", l)
		}
	})
}

func TestLeaseShow(t *testing.T) {
	eachAPI(t, tenNet, func(t *testing.T, c cluster) {
		c.lease("10.5.1.0/24", "192.0.2.1", "n1", time.Hour)
		for _, name := range []string{"10.5.1.0/24", "10.5.1.0-24", "10.5.1.7", "192.0.2.1", "n1"} {
			c.says(exitDone, `value         {"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"},"NodeID":"n1"}`+"\n", "", "lease", "show", name)
		}
		c.says(exitDone, "key           /coreos.com/network/subnets/10.5.1.0-24\n", "", "lease", "show", "n1")
		c.says(exitDone, `"schema": 1,`, "", "lease", "show", "n1", "-o", "json")
		c.says(exitDone, `"value": "{\"PublicIP\":\"192.0.2.1\"`, "", "lease", "show", "n1", "-o", "json")
		c.says(exitFailed, "", "error: there is no lease \"10.5.9.0/24\"\nhint: ", "lease", "show", "10.5.9.0/24")
		c.lease("10.5.2.0/24", "192.0.2.1", "n2", time.Hour)
		c.says(exitFailed, "", `"192.0.2.1" is several leases: 10.5.1.0/24, 10.5.2.0/24`, "lease", "show", "192.0.2.1")
		c.says(exitUsage, "", "give one LEASE", "lease", "show")
		if out, _, _ := run(t, "__complete", "lease", "show", "--etcd-endpoints="+c.url, "10"); !strings.Contains(out, "10.5.1.0/24\t192.0.2.1\n10.5.2.0/24") {
			t.Errorf("completion has %q", out)
		}
	})
}

func TestACommandOfSeveral(t *testing.T) {
	for args, want := range map[string]string{"lease": "hint: give list, show", "lease lsit": `invalid value "lsit" for flannelctl lease`} {
		if _, errs, status := run(t, strings.Fields(args)...); status != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: status %d, %q", args, status, errs)
		}
	}
}

func TestLeaseReserveAndUnreserve(t *testing.T) {
	eachAPI(t, tenNet, func(t *testing.T, c cluster) {
		was := c.lease("10.5.1.0/24", "192.0.2.1", "n1", time.Hour)
		c.says(exitDone, "10.5.1.0/24 of 192.0.2.1 (node n1): it is a reservation now, without an end\n", "", "lease", "reserve", "10.5.1.0/24")
		if l, ok := c.read("10.5.1.0/24"); !ok || !l.Reserved() || !l.Same(was) {
			t.Errorf("it is %+v", l)
		}
		c.says(exitDone, `"changed": false`, "", "lease", "reserve", "n1", "-o", "json")
		c.says(exitDone, "ends in a day", "", "lease", "unreserve", "n1")
		if l, _ := c.read("10.5.1.0/24"); l.Reserved() || time.Until(l.Expires) < 23*time.Hour || !l.Same(was) {
			t.Errorf("it is %+v", l)
		}
		c.says(exitDone, "it is no reservation", "", "lease", "unreserve", "n1")
		c.says(exitFailed, "", "there is no lease", "lease", "reserve", "10.5.9.0/24")

		// What would not hold is refused.
		c.lease("10.5.2.0/24", "192.0.2.2", "", time.Hour)
		if c.api == options.APIv3 {
			c.says(exitFailed, "", "makes a lease of a reservation again", "lease", "reserve", "10.5.2.0/24")
		}
		c.says(exitDone, "it is a reservation now", "", "lease", "reserve", "10.5.2.0/24", "--force")
		c.lease("10.6.1.0/24", "192.0.2.3", "n3", time.Hour)
		c.says(exitFailed, "", "not allowed by the network's configuration", "lease", "reserve", "n3")
	})
}

func TestLeaseReserveForAHostWithoutOne(t *testing.T) {
	eachAPI(t, tenNet, func(t *testing.T, c cluster) {
		c.lease("10.5.1.0/24", "192.0.2.1", "n1", time.Hour)
		c.says(exitDone, "10.5.77.0/24 of 192.0.2.77: it is a reservation", "", "lease", "reserve", "10.5.77.0/24", "--public-ip=192.0.2.77")
		if l, ok := c.read("10.5.77.0/24"); !ok || !l.Reserved() || l.V4.PublicIP != netip.MustParseAddr("192.0.2.77") {
			t.Errorf("it is %+v", l)
		}
		for _, tt := range []struct{ subnet, ip, err string }{
			{"10.5.1.0/24", "192.0.2.9", "10.5.1.0/24 is leased to 192.0.2.1 (node n1)"},
			{"10.5.9.0/24", "192.0.2.1", "192.0.2.1 has 10.5.1.0/24 already"},
			{"10.6.1.0/24", "192.0.2.9", "choose a /24 from 10.5.1.0 to 10.5.255.0"},
			{"10.5.9.0/25", "192.0.2.9", "not allowed"},
		} {
			c.says(exitFailed, "", tt.err, "lease", "reserve", tt.subnet, "--public-ip="+tt.ip)
		}
		for _, ip := range []string{"fd00::1", "host"} { // an IPv6 literal ends older hosts
			c.says(exitUsage, "", "for --public-ip", "lease", "reserve", "10.5.9.0/24", "--public-ip="+ip)
		}
		c.says(exitUsage, "", "for LEASE", "lease", "reserve", "n9", "--public-ip=192.0.2.9")
		if all, _, _ := c.store.Leases(t.Context()); len(all) != 2 {
			t.Errorf("leases are %v", all)
		}
	})
}

// answers is a host that says that it is there.
func (c cluster) answers(ctx context.Context, subnets string) {
	for ctx.Err() == nil {
		if l, ok := c.read(subnets); ok && l.Contest != "" {
			now := l
			now.Contest = ""
			_, _ = c.store.Renew(ctx, l, now, subnet.DefaultTTL) // it is tried again
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestLeaseRelease(t *testing.T) {
	eachAPI(t, tenNet, func(t *testing.T, c cluster) {
		c.lease("10.5.1.0/24", "192.0.2.1", "n1", time.Hour)
		c.lease("10.5.2.0/24", "192.0.2.2", "", time.Hour)
		c.lease("10.5.3.0/24", "192.0.2.3", "n3", 0)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); c.answers(ctx, "10.5.1.0/24") }()
		c.says(exitFailed, "", "error: 192.0.2.1 (node n1) is there: it answered, and keeps 10.5.1.0/24\nhint: ", "lease", "release", "10.5.1.0/24")
		cancel()
		<-done
		c.says(exitFailed, "", "nobody can tell whether 192.0.2.2 is there", "lease", "release", "10.5.2.0/24")
		c.says(exitFailed, "", "10.5.3.0/24 is a reservation", "lease", "release", "10.5.3.0/24")
		if all, _, _ := c.store.Leases(t.Context()); len(all) != 3 {
			t.Fatalf("leases are %v", all)
		}
		c.says(exitDone, "10.5.1.0/24 of 192.0.2.1 (node n1): released; its host did not answer", "asking 192.0.2.1", "lease", "release", "10.5.1.0/24")
		c.says(exitDone, "10.5.2.0/24 of 192.0.2.2: released; its host was not asked", "", "lease", "release", "10.5.2.0/24", "--force")
		c.says(exitDone, "10.5.3.0/24", "", "lease", "release", "10.5.3.0/24", "--force", "-o", "json")
		if all, _, _ := c.store.Leases(t.Context()); len(all) != 0 {
			t.Errorf("leases are %v", all)
		}
	})
}

// racing is a keyspace in which somebody does something before each write.
type racing struct {
	keyspace
	before func()
}

func (r racing) Renew(ctx context.Context, was, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	r.before()
	return r.keyspace.Renew(ctx, was, l, ttl)
}

func (r racing) Delete(ctx context.Context, l subnet.Lease) error {
	r.before()
	return r.keyspace.Delete(ctx, l)
}

func (r racing) WriteConfig(ctx context.Context, was config.Document, raw []byte) error {
	r.before()
	return r.keyspace.WriteConfig(ctx, was, raw)
}

// Another host's lease is never written over nor deleted, whenever it comes.
func TestALeaseThatChangesMeanwhile(t *testing.T) {
	eachAPI(t, tenNet, func(t *testing.T, c cluster) {
		was := c.lease("10.5.1.0/24", "192.0.2.1", "n1", time.Hour)
		r := &leaseChange{call: &call{stderr: t.Output()}, force: true}
		times, other := 0, was
		replaced := &network{api: c.api, keyspace: racing{c.store, func() { // another host gets the subnet
			if times++; times == 1 {
				l, _ := c.read("10.5.1.0/24")
				other = l
				other.V4.PublicIP, other.Node = netip.MustParseAddr("192.0.2.9"), "n9"
				if _, err := c.store.Renew(t.Context(), l, other, time.Hour); err != nil {
					t.Error(err)
				}
			}
		}}}
		for name, change := range map[string]func(context.Context, *network, string) (leaseChanged, error){"reserve": r.reserve, "release": r.release} {
			times = 0
			if _, err := change(t.Context(), replaced, "10.5.1.0/24"); err == nil || !strings.Contains(err.Error(), "has changed meanwhile, and was not touched") {
				t.Errorf("%s: %v", name, err)
			}
			l, ok := c.read("10.5.1.0/24")
			if !ok || !l.Same(other) || l.Reserved() {
				t.Errorf("%s: the lease is %+v, want %+v", name, l, other)
			}
			if _, err := c.store.Renew(t.Context(), l, was, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		// A renewal of the same host does not keep it from being reserved.
		times = 0
		renewed := &network{api: c.api, keyspace: racing{c.store, func() {
			if times++; times == 1 {
				l, _ := c.read("10.5.1.0/24")
				if _, err := c.store.Renew(t.Context(), l, l, time.Hour); err != nil {
					t.Error(err)
				}
			}
		}}}
		done, err := r.reserve(t.Context(), renewed, "10.5.1.0/24")
		if l, _ := c.read("10.5.1.0/24"); err != nil || !l.Reserved() || !done.lease.Reserved() {
			t.Errorf("%+v, %v", done, err)
		}
	})
}

func TestLeasesWithoutANetworkOrEtcd(t *testing.T) {
	eachAPI(t, "", func(t *testing.T, c cluster) {
		c.says(exitFailed, "", "error: there is no network: etcd has none at /coreos.com/network/config, through either of its APIs\nhint: check --etcd-prefix", "lease", "list")
		c.says(exitDone, "0 leases on "+c.api+"\n", "warning: the network's configuration cannot be read", "lease", "list", "--etcd-api="+c.api)
	})
	_, errs, status := run(t, "lease", "list", "--etcd-endpoints=http://127.0.0.1:1")
	if status != exitFailed || !strings.Contains(errs, "connection refused") {
		t.Errorf("status %d, %q", status, errs)
	}
}

// A listing asks etcd for each lease's end with v3; it must not take long.
func TestLeaseListOfMany(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 2,000 leases")
	}
	eachAPI(t, `{"Network":"10.0.0.0/8","SubnetLen":24}`, func(t *testing.T, c cluster) {
		for i := range 2000 {
			c.lease(fmt.Sprintf("10.%d.%d.0/24", 1+i/250, i%250), fmt.Sprintf("192.0.%d.%d", i/250, i%250), fmt.Sprintf("n%d", i), time.Hour)
		}
		began := time.Now()
		c.says(exitDone, ": 2000 of 65535 subnets leased (3 %)", "", "lease", "list")
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %v", took)
		} else {
			t.Logf("it took %v", took)
		}
	})
}
