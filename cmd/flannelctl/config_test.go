package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigShow(t *testing.T) {
	const doc = "{\n\t\"Network\": \"10.5.0.0/16\",\n\t\"Backend\": {\"Type\": \"vxlan\"}, \"x\": 1\n}"
	eachAPI(t, doc, func(t *testing.T, c cluster) {
		out, errs, status := c.run("config", "show")
		for _, want := range []string{"/coreos.com/network/config, API " + c.api + ", revision ", ":\n\n" + doc + "\n\n", "\nSubnetLen              24, 255 subnets for hosts\n",
			"\nSubnetMin              10.5.1.0\n", "\nBackend Port           8472\n", "\nBackend VNI            1\n"} {
			if status != exitDone || !strings.Contains(out, want) {
				t.Errorf("status %d, it lacks %q:\n%s", status, want, out)
			}
		}
		if !strings.Contains(errs, `unknown key "x"`) {
			t.Errorf("warnings are %q", errs)
		}
		out, _, _ = c.run("config", "show", "-o", "json")
		var r configReport
		if err := json.Unmarshal([]byte(out), &r); err != nil || !r.Valid || r.Document != doc || r.API != c.api || r.Revision == 0 || r.Schema != 1 ||
			r.Config.IPv4.Subnets != 255 || r.Config.Backend.Options["Port"] != "8472" || len(r.Warnings) != 1 {
			t.Errorf("%v\n%s", err, out)
		}
		c.says(exitDone, "/coreos.com/network/config can be used: vxlan, 10.5.0.0/16, 255 subnets of /24\n", "", "config", "check")

		c.setConfig("{\n \"Network\": \"10.5.0.0/16\",\n \"Backend\": {\"Type\": \"vxlan\", \"VNI\": \"7\"}}")
		c.says(exitFailed, `"VNI": "7"`, "error: /coreos.com/network/config: line 3, column 38: Backend option VNI is a string\nhint: ", "config", "show")
		c.says(exitFailed, "", "line 3, column 38", "config", "check")
		c.says(exitFailed, "\"line\": 3,\n    \"column\": 38,", "", "config", "check", "-o", "json")
		c.setConfig("not JSON")
		c.says(exitFailed, "not JSON", "line 1, column 2", "config", "show")
	})
	eachAPI(t, "", func(t *testing.T, c cluster) {
		c.says(exitFailed, "", "error: there is no network", "config", "show")
		c.says(exitFailed, "", "has no configuration at /coreos.com/network/config", "config", "check", "--etcd-api="+c.api)
	})
}

func TestConfigCheckOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	for doc, want := range map[string]string{
		`{"Network":"10.5.0.0/16"}`:                                "",
		`{"Network":"10.5.0.0/16",}`:                               "line 1, column 25: a comma before the closing brace\nhint: remove",
		`{"Network":"10.5.0.0/16","Backend":{"Type":"ipsec"}}`:     "line 1, column 44: unknown backend type: ipsec\nhint: there are",
		`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","x":1}}`: "",
		``: "the document is empty\nhint: write at least",
	} {
		if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, status := run(t, "config", "check", file)
		if want == "" && (status != exitDone || !strings.Contains(out, "can be used: udp, 10.5.0.0/16")) || want != "" && (status != exitFailed || !strings.Contains(errs, want)) {
			t.Errorf("%s: status %d, %q, %q", doc, status, out, errs)
		}
	}
	c := &call{stdin: strings.NewReader(`{"Network":"10.5.0.0/16"}`), stdout: t.Output(), stderr: t.Output(), output: "text"}
	if err := checkFile(c, "-"); err != nil {
		t.Error(err)
	}
	if _, errs, status := run(t, "config", "check", file+".none"); status != exitFailed || !strings.Contains(errs, "no such file") {
		t.Errorf("status %d, %q", status, errs)
	}
}
