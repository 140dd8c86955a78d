package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

func TestConfigCheckNamesAllThatIsWrong(t *testing.T) {
	const doc = "{\"Network\":\"10.5.0.0/16\", \"SubnetLen\":31,\n \"SubnetMax\":\"10.6.0.0\",\n \"Backend\":{\"Type\":\"vxlan\",\n  \"VNI\":99999999, \"Port\":\"1\", \"MTU\":7}}"
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []configError{
		{1, 39, "SubnetLen", "SubnetLen must be less than /31", "30 is the longest"},
		{2, 14, "SubnetMax", "SubnetMax is not in the range of the Network: 10.6.0.0 is outside 10.5.0.0/16", "the first subnet is 10.5.0.0, the last 10.5.255.0"},
		{4, 26, "Backend.Port", "Backend option Port is a string", "a number is expected: write 1 without quotes"},
		{4, 9, "Backend.VNI", "Backend option VNI 99999999 does not fit 24 bits", "write a number from 0 to 9999999"},
		{4, 37, "Backend.MTU", "Backend option MTU 7 is out of range", "write a number from 1280 to 65535, or leave it out to use the interface's"},
	}
	var text strings.Builder
	for _, e := range want {
		fmt.Fprintf(&text, "error: %s: line %d, column %d: %s\nhint: %s\n", file, e.Line, e.Column, e.Message, e.Hint)
	}
	if out, errs, status := run(t, "config", "check", file); status != exitFailed || out != "" || errs != text.String() {
		t.Errorf("status %d, %q\n got %s\nwant %s", status, out, errs, text.String())
	}
	out, _, status := run(t, "config", "check", "-o", "json", file)
	var r configReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || status != exitFailed || r.Valid || r.Error == nil || *r.Error != want[0] || !slices.Equal(r.Errors, want) {
		t.Errorf("status %d, %v\n%s", status, err, out)
	}
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
