package config_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/subnet/config"
)

type backendOptions struct {
	VNI           uint32
	Port          uint16
	DirectRouting bool
	MTU           int
	Secret        string `json:"PSK"`
	Hidden        string `json:"-"`
}

func TestDecodeBackendReadsOptions(t *testing.T) {
	for _, tt := range []struct {
		name, raw string
		want      backendOptions
		unknown   []string
	}{
		{"none", ``, backendOptions{VNI: 1}, nil},
		{"null", ` null `, backendOptions{VNI: 1}, nil},
		{"Type alone", `{"Type":"vxlan"}`, backendOptions{VNI: 1}, nil},
		{"any case", `{"TYPE":"vxlan","vni":7,"directrouting":true,"psk":"x"}`, backendOptions{VNI: 7, DirectRouting: true, Secret: "x"}, nil},
		{"null leaves the default", `{"VNI":null}`, backendOptions{VNI: 1}, nil},
		{"unknown", `{"Prot":8472,"Colour":"red","Hidden":"x"}`, backendOptions{VNI: 1},
			[]string{`"Prot" (did you mean "Port"?)`, `"Colour"`, `"Hidden"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := backendOptions{VNI: 1}
			unknown, err := config.DecodeBackend(json.RawMessage(tt.raw), &got)
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
			if diff := cmp.Diff(tt.unknown, unknown); diff != "" {
				t.Errorf("unknown options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeBackendNamesTheWrongOption(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{`{"VNI":"7"}`, "line 1, column 8: Backend option VNI is a string (a number is expected: write 7 without quotes)"},
		{`{"VNI":-1}`, "line 1, column 8: Backend option VNI is the number -1 (a number is expected: write a whole number from 0 to 4294967295 without quotes)"},
		{`{"port":70000}`, "line 1, column 9: Backend option port is the number 70000 (a number is expected: write a whole number from 0 to 65535 without quotes)"},
		{`{"MTU":1.5}`, "line 1, column 8: Backend option MTU is the number 1.5 (a number is expected: write a whole number without quotes)"},
		{`{"DirectRouting":"true"}`, "line 1, column 18: Backend option DirectRouting is a string (a boolean is expected: write true without quotes)"},
		{`{"DirectRouting":1}`, "line 1, column 18: Backend option DirectRouting is the number 1 (a boolean is expected: write true or false without quotes)"},
		{`{"PSK":5}`, "line 1, column 8: Backend option PSK is the number 5 (a string is expected: write it in quotes)"},
		{`{"VNI":1,"Vni":2}`, `line 1, column 10: Backend option "Vni" is there twice (upper and lower case are the same; remove one)`},
		{`[]`, "line 1, column 1: Backend is not an object"},
		{`{`, "line 1, column 1: Backend is not an object"},
	} {
		var o backendOptions
		if _, err := config.DecodeBackend(json.RawMessage(tt.raw), &o); err == nil || err.Error() != tt.want && !strings.HasPrefix(err.Error(), tt.want+" (write an object") {
			t.Errorf("DecodeBackend(%s)\n got %v\nwant %s", tt.raw, err, tt.want)
		}
	}
}

func TestLocateTellsThePlaceInTheDocument(t *testing.T) {
	for _, tt := range []struct{ doc, option, want string }{
		{`{"Network":"10.1.0.0/16","Backend":{"Type":"x","VNI":"7"}}`, "", "line 1, column 54: Backend option VNI is a string (a number is expected: write 7 without quotes)"},
		{"{\"Network\":\"10.1.0.0/16\",\n \"Backend\": {\"Type\":\"x\",\n  \"VNI\":true}}", "",
			"line 3, column 9: Backend option VNI is a boolean (a number is expected: write a whole number from 0 to 4294967295 without quotes)"},
		{"\n{\"Network\":\"10.1.0.0/16\", \"Backend\": {\"Type\":\"x\"}}", "Type", "line 2, column 46: wrong (mend it)"},
		{`{"Network":"10.1.0.0/16","Backend":{"Type":"x"}}`, "VNI", "wrong (mend it)"},
		{`{"Network":"10.1.0.0/16"}`, "Type", "wrong (mend it)"},
	} {
		c, _, err := config.Parse([]byte(tt.doc))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = config.DecodeBackend(c.Backend, &backendOptions{}); tt.option != "" {
			err = config.OptionError(c.Backend, tt.option, "wrong", "mend it")
		}
		if got := c.Locate(err); got == nil || got.Error() != tt.want {
			t.Errorf("%s\n got %v\nwant %s", tt.doc, got, tt.want)
		}
	}
}

func TestDiffNamesWhatChanged(t *testing.T) {
	const net = `"Network":"10.1.0.0/16"`
	for _, tt := range []struct{ name, a, b, want string }{
		{"the same", `{"Network":"10.1.0.0/16"}`, `{ "network":"10.1.0.9/16", "SubnetLen":24 }`, ""},
		{"spelling of the backend", `{` + net + `,"Backend":{"Type":"vxlan","VNI":1}}`, `{` + net + `,"Backend":{ "vni": 1, "type":"VXLAN" }}`, ""},
		{"the subnet's length", `{` + net + `,"SubnetMin":"10.1.4.0"}`, `{` + net + `,"SubnetMin":"10.1.4.0","SubnetMax":"10.1.255.0","SubnetLen":25}`, "SubnetLen 24 -> 25"},
		{"the network", `{` + net + `}`, `{"Network":"10.2.0.0/16"}`,
			"Network 10.1.0.0/16 -> 10.2.0.0/16, SubnetMin 10.1.1.0 -> 10.2.1.0, SubnetMax 10.1.255.0 -> 10.2.255.0"},
		{"options", `{` + net + `,"Backend":{"Type":"vxlan","VNI":1,"Port":8472}}`, `{` + net + `,"Backend":{"Type":"vxlan","VNI":2,"MTU":1400}}`,
			"Backend MTU unset -> 1400, Backend Port 8472 -> unset, Backend VNI 1 -> 2"},
		{"the type", `{` + net + `}`, `{` + net + `,"Backend":{"Type":"vxlan"}}`, "Backend Type udp -> vxlan"},
		{"a secret", `{` + net + `,"Backend":{"Type":"x","PSK":"aaa"}}`, `{` + net + `,"Backend":{"Type":"x","PSK":"bbb"}}`, "Backend PSK (not shown)"},
		{"IPv6", `{` + net + `}`, `{` + net + `,"EnableIPv6":true,"IPv6Network":"fd00::/48","EnableNFTables":true}`,
			"IPv6Network none -> fd00::/48, EnableNFTables false -> true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, _, err := config.Parse([]byte(tt.a))
			if err != nil {
				t.Fatal(err)
			}
			b, _, err := config.Parse([]byte(tt.b))
			if err != nil {
				t.Fatal(err)
			}
			if got := config.Diff(a, b); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}
