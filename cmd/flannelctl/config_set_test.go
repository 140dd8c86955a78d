package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// document returns the configuration as it lies in etcd.
func (c cluster) document() string {
	c.t.Helper()
	doc, err := c.store.Config(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return string(doc.Raw)
}

func TestConfigSet(t *testing.T) {
	const doc = "{\n\t\"Network\": \"10.5.0.0/16\",\n\t\"owner\": {\"of\": [1, 2]},\n\t\"Backend\": {\"Type\": \"vxlan\", \"VNI\": 7, \"x\": 1}\n}\n"
	eachAPI(t, doc, func(t *testing.T, c cluster) {
		// With no lease nothing can be split.
		out, errs, status := c.run("config", "set", "--subnet-len=25", "--dry-run")
		want := strings.Replace(doc, "\n}\n", ",\n\t\"SubnetLen\": 25\n}\n", 1)
		for _, line := range []string{"+ \t\"SubnetLen\": 25\n", "  \t\"owner\": {", "\nSubnetLen 24 -> 25\n", "note: no host has a lease, so that nothing can be split\nnothing was written\n"} {
			if !strings.Contains(out, line) {
				t.Errorf("%q is missing in\n%s", line, out)
			}
		}
		if status != exitDone || c.document() != doc || !strings.Contains(errs, `warning: the new document: line 3, column 2: unknown key "owner"`) {
			t.Errorf("status %d, %q", status, errs)
		}
		c.says(exitDone, "written: vxlan, 10.5.0.0/16, 511 subnets of /25\n", "", "config", "set", "--subnet-len=25")
		if diff := cmp.Diff(want, c.document()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		c.says(exitDone, "it is so already; nothing was written\n", "", "config", "set", "--subnet-len=25")
		c.says(exitDone, "", "", "config", "set", "--subnet-len=")
		// Another backend's options go, and what nobody reads stays.
		c.says(exitDone, "\nBackend Type vxlan -> host-gw\n", "", "config", "set", "--backend-type=host-gw")
		if want := strings.Replace(doc, `"Type": "vxlan", "VNI": 7, "x": 1`, `"Type": "host-gw", "x": 1`, 1); c.document() != want {
			t.Errorf("it is\n%s\nwant\n%s", c.document(), want)
		}
		c.says(exitFailed, "", "error: the new document: line 2, column 13: Network \"10.5.0.0\" is not a network\nhint: ", "config", "set", "--network=10.5.0.0")
		c.setConfig(`{"Network":"10.5.0.0/16"}`)
		c.says(exitDone, "Backend Port 8285 -> 9000", "", "config", "set", "--port=9000")
		if c.document() != `{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":9000}}` {
			t.Errorf("it is %s", c.document())
		}
	})
}

func TestConfigSetMakesOne(t *testing.T) {
	eachAPI(t, "", func(t *testing.T, c cluster) {
		c.says(exitFailed, "", "error: the new document: Network is missing", "config", "set", "--etcd-api="+c.api, "--backend-type=vxlan")
		c.says(exitDone, "\n+ {\"Network\":\"10.5.0.0/16\",\"Backend\":{\"Type\":\"vxlan\"}}\n", "", "config", "set", "--etcd-api="+c.api, "--network=10.5.0.0/16", "--backend-type=vxlan")
		c.says(exitDone, "vxlan, 10.5.0.0/16", "", "config", "check")
		if c.document() != `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}` {
			t.Errorf("it is %s", c.document())
		}
	})
	eachAPI(t, "", func(t *testing.T, c cluster) { // hosts are where their leases are; without any it is v3
		if c.api == "v2" {
			c.lease("10.5.1.0/24", "192.0.2.1", "n1", time.Hour)
		}
		c.says(exitDone, "config, API "+c.api+"\n", "", "config", "set", "--network=10.5.0.0/16", "--backend-type=vxlan")
		c.says(exitDone, "vxlan", "", "config", "check")
	})
}

func TestConfigSetOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	write := func(doc string) {
		if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	eachAPI(t, "not JSON", func(t *testing.T, c cluster) {
		c.lease("10.5.1.0/24", "192.0.2.1", "n1", time.Hour)
		c.lease("10.5.2.0/24", "192.0.2.2", "n2", time.Hour)
		c.says(exitFailed, "", "config is now:\nnot JSON\nerror: the document there cannot be changed, since no host can use it: ", "config", "set", "--network=10.5.0.0/16")
		write(`{"Network":"10.6.0.0/16","Backend":{"Type":"vxlan"}}`)
		c.says(exitFailed, "- not JSON\n+ {", "error: 2 hosts would lose their subnets", "config", "set", "--file="+file)
		write(`{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}`)
		c.says(exitFailed, "", "error: 2 hosts would have another backend than host-gw: 10.5.1.0/24 of 192.0.2.1 (node n1) (vxlan), 10.5.2.0/24", "config", "set", "--file="+file)
		write(`{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`)
		c.says(exitDone, "note: no host can use the document that is there; it is replaced as a whole\n", "", "config", "set", "--file="+file)
		c.says(exitDone, "it is so already; nothing was written", "", "config", "set", "--file="+file)
		write(`{"Network":"10.5.0.0/16",}`)
		c.says(exitFailed, "", "the new document: line 1, column 25: a comma", "config", "set", "--file="+file)
		c.says(exitUsage, "", "--file has the whole document", "config", "set", "--file="+file, "--vni=7")
		c.says(exitUsage, "", "nothing is to be set", "config", "set")
		c.says(exitUsage, "", `invalid value "x" for --vni`, "config", "set", "--vni=x")
		c.says(exitUsage, "", `invalid value "yes" for --gbp`, "config", "set", "--gbp=yes")
	})
}

func TestConfigSetRefusesWhatSplitsTheCluster(t *testing.T) {
	eachAPI(t, tenNet, func(t *testing.T, c cluster) {
		c.lease("10.5.1.0/24", "192.0.2.1", "n1", time.Hour)
		c.says(exitDone, "note: one host alone has a lease, so that nothing can be split\nnothing was written", "", "config", "set", "--vni=7", "--dry-run")
		c.lease("10.5.99.0/24", "192.0.2.9", "n9", 0)
		out, errs, status := c.run("config", "set", "--vni=7")
		if status != exitFailed || c.document() != tenNet || !strings.Contains(errs, "error: 2 hosts would have another vxlan VNI than 7: ") || !strings.Contains(out, "\nnothing was written\n") {
			t.Errorf("status %d, %s%s", status, out, errs)
		}
		c.says(exitFailed, "10.5.99.0/24  192.0.2.9  vxlan    takes another subnet: not from 10.5.1.0 to 10.5.9.0\n10.5.1.0/24   192.0.2.1  vxlan    keeps its subnet\n",
			"error: 1 host would lose its subnet: 10.5.99.0/24", "config", "set", "--subnet-max=10.5.9.0", "--dry-run")
		// A wider network takes nothing from anybody.
		c.says(exitDone, "note: every host keeps its subnet; a host that leases one in the new part", "", "config", "set", "--network=10.4.0.0/15")
		c.setConfig(tenNet)
		out, _, status = c.run("config", "set", "--vni=7", "--force", "-o", "json")
		var r configChange
		if err := json.Unmarshal([]byte(out), &r); err != nil || status != exitDone || !r.Changed || !r.Forced || !r.Restart || len(r.Refused) != 1 || len(r.Hosts) != 2 ||
			r.Before == nil || *r.Before != tenNet || r.Document != c.document() || r.Schema != 1 || r.API != c.api || len(r.Differs) != 1 || r.Differs[0] != "Backend VNI 1 -> 7" {
			t.Errorf("%v, status %d\n%s", err, status, out)
		}
		// No host was restarted: the way back splits nobody.
		c.says(exitDone, "written: ", "", "config", "set", "--vni=1")
	})
}

// Whoever has changed the document meanwhile keeps the change, and a write whose answer was
// lost is no such change.
func TestConfigSetLosesARace(t *testing.T) {
	eachAPI(t, tenNet, func(t *testing.T, c cluster) {
		const mine, other = `{"Network":"10.7.0.0/16"}`, `{"Network":"10.8.0.0/16"}`
		n := &network{api: c.api, prefix: "/coreos.com/network"}
		for between, want := range map[string]string{other: "somebody else has changed /coreos.com/network/config meanwhile, and it was not touched", mine: ""} {
			c.setConfig(tenNet)
			n.keyspace = racing{c.store, func() { c.setConfig(between) }}
			var err error
			if n.doc, err = n.Config(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err = writeConfig(t.Context(), n, []byte(mine)); (err == nil) != (want == "") || err != nil && err.Error() != want {
				t.Errorf("%v, want %q", err, want)
			}
			if c.document() != between {
				t.Errorf("it is %s", c.document())
			}
		}
	})
}

func TestConfigSetCompletion(t *testing.T) {
	for args, want := range map[string]string{
		"config s": "set\t", "config set --backend-t": "--backend-type\t", "config set --backend-type h": "host-gw\n", "config set --enable-nftables=": "false\n", "config set --file x": ":0",
	} {
		if out, _, status := run(t, append([]string{"__complete"}, strings.Fields(args)...)...); status != exitDone || !strings.Contains(out, want) {
			t.Errorf("%s: status %d, %q", args, status, out)
		}
	}
}
