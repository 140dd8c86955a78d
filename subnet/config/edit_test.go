package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"flanneld/subnet/config"
)

func set(name, value string) config.Member {
	return config.Member{Name: name, Value: json.RawMessage(value)}
}

func setBackend(name, value string) config.Member {
	return config.Member{Backend: true, Name: name, Value: json.RawMessage(value)}
}

func TestEditLeavesAllElseAsItIs(t *testing.T) {
	gone := config.Member{Name: "SubnetLen"}
	for _, tt := range []struct {
		name, doc string
		edits     []config.Member
		want      string
	}{
		{"nothing", ` { "x" : 1 } `, nil, ` { "x" : 1 } `},
		{"in the place of the old one", `{ "network" : "10.1.0.0/16" , "x":{"a":[1, 2]} }`, []config.Member{set("Network", `"10.2.0.0/16"`)},
			`{ "network" : "10.2.0.0/16" , "x":{"a":[1, 2]} }`},
		{"behind the last", `{"Network":"10.1.0.0/16","x":1}`, []config.Member{set("SubnetLen", "25")}, `{"Network":"10.1.0.0/16","x":1,"SubnetLen":25}`},
		{"as the last is written", "{\n\t\"Network\": \"10.1.0.0/16\",\n\t\"x\": 1\n}\n", []config.Member{set("SubnetLen", "25")},
			"{\n\t\"Network\": \"10.1.0.0/16\",\n\t\"x\": 1,\n\t\"SubnetLen\": 25\n}\n"},
		{"as the only one is written", "{ \"Network\": \"10.1.0.0/16\" }", []config.Member{set("SubnetLen", "25")}, "{ \"Network\": \"10.1.0.0/16\",\"SubnetLen\": 25 }"},
		{"the only one of a line", "{\n  \"Network\": \"10.1.0.0/16\"\n}", []config.Member{set("SubnetLen", "25")}, "{\n  \"Network\": \"10.1.0.0/16\",\n  \"SubnetLen\": 25\n}"},
		{"into nothing", "", []config.Member{set("Network", `"10.1.0.0/16"`), setBackend("Type", `"vxlan"`), setBackend("VNI", "7")},
			`{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan","VNI":7}}`},
		{"a backend that is null", `{"Backend":null,"x":1}`, []config.Member{setBackend("Type", `"vxlan"`)}, `{"Backend":{"Type":"vxlan"},"x":1}`},
		{"an option", `{"BACKEND":{"Type":"vxlan", "Port":1, "y":2},"x":1}`, []config.Member{setBackend("port", "4789"), setBackend("VNI", "3")},
			`{"BACKEND":{"Type":"vxlan", "Port":4789, "y":2, "VNI":3},"x":1}`},
		{"the first goes", `{"SubnetLen":24, "x":1}`, []config.Member{gone}, `{"x":1}`},
		{"one between goes", "{\"a\":1,\n\"subnetlen\":24,\n\"x\":1}", []config.Member{gone}, "{\"a\":1,\n\"x\":1}"},
		{"the last goes", `{"a":1, "SubnetLen":24 }`, []config.Member{gone}, `{"a":1 }`},
		{"the only one goes", `{"SubnetLen":24}`, []config.Member{gone}, `{}`},
		{"one that is not there", `{"a":1}`, []config.Member{gone, {Backend: true, Name: "VNI"}}, `{"a":1}`},
		{"an escaped quote before the colon", `{"a\"":1}`, []config.Member{set("b", "2")}, `{"a\"":1,"b":2}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := config.Edit([]byte(tt.doc), tt.edits...)
			if err != nil || string(got) != tt.want {
				t.Errorf("got  %q, %v\nwant %q", got, err, tt.want)
			}
		})
	}
}

func TestEditRefuses(t *testing.T) {
	for doc, want := range map[string]string{
		`[]`: "not a JSON object", `{"a":1,}`: "a comma before", `{"Backend":"vxlan"}`: "line 1, column 12: Backend is a string, not an object", `{"a":1,"A":2}`: "there twice",
	} {
		_, err := config.Edit([]byte(doc), setBackend("VNI", "1"))
		if e, ok := errors.AsType[*config.Error](err); !ok || !strings.Contains(e.Error(), want) {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
	}
}

// What is written is read again, and what was there besides is there still.
func FuzzEdit(f *testing.F) {
	for _, doc := range []string{`{}`, `{"Network":"10.1.0.0/16","x":[1,{"VNI":2}]}`, `{"a":1 , "Backend" : { "VNI" :1 } }`, "{\n\t\"Backend\": {},\n\"s\":\"\\\"}\"\n}", `{"vni":1}`} {
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		got, err := config.Edit([]byte(doc), set("SubnetLen", "25"), setBackend("VNI", "77"))
		if err != nil {
			return
		}
		var was, is map[string]json.RawMessage
		if err := json.Unmarshal(got, &is); err != nil {
			t.Fatalf("%q becomes %q: %v", doc, got, err)
		}
		_ = json.Unmarshal(bytes.TrimPrefix([]byte(doc), []byte("\xef\xbb\xbf")), &was) // nil: it was empty
		for name, v := range was {
			if !strings.EqualFold(name, "SubnetLen") && !strings.EqualFold(name, "Backend") && !bytes.Equal(v, is[name]) {
				t.Errorf("%q becomes %q: %s is %s", doc, got, name, is[name])
			}
		}
		var o struct{ VNI int }
		var d struct {
			SubnetLen int
			Backend   json.RawMessage
		}
		if err := json.Unmarshal(got, &d); err != nil || d.SubnetLen != 25 || json.Unmarshal(d.Backend, &o) != nil || o.VNI != 77 {
			t.Errorf("%q becomes %q", doc, got)
		}
		back, err := config.Edit(got, config.Member{Name: "SubnetLen"}, config.Member{Backend: true, Name: "VNI"})
		if err != nil || !json.Valid(back) || strings.Contains(string(back), "77") && !strings.Contains(doc, "77") {
			t.Errorf("%q becomes %q, %v", got, back, err)
		}
	})
}
