package config

import (
	"encoding/json"
	"flanneld/pkg/words"
	"fmt"
	"strings"
)

// jsonType says what a JSON value is, for people.
func jsonType(v []byte) string {
	switch v[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "the number " + words.Clip(strings.TrimSpace(string(v)))
}

// typeHint is what to do about a top-level value of the wrong type.
func typeHint(name string, v json.RawMessage) string {
	switch name {
	case "SubnetLen":
		return quoteHint(v, "a number is expected: write a whole number without quotes, such as 24")
	case "IPv6SubnetLen":
		return quoteHint(v, "a number is expected: write a whole number without quotes, such as 64")
	case "EnableIPv4", "EnableIPv6", "EnableNFTables":
		return quoteHint(v, "a boolean is expected: write true or false without quotes")
	case "Network":
		return `write a network in quotes, such as "10.100.0.0/16"`
	case "IPv6Network":
		return `write a network in quotes, such as "fd00:100::/48"`
	case "Backend":
		return `write an object, such as {"Type":"vxlan"}`
	case "IPv6SubnetMin", "IPv6SubnetMax":
		return `write an address in quotes, such as "fd00:100:0:1::"`
	}
	return `write an address in quotes, such as "10.100.1.0"`
}

// quoteHint is what to do about a value that should be a number or a boolean.
// The quotes around it are the usual mistake; otherwise the hint is general.
func quoteHint(v json.RawMessage, general string) string {
	var s string
	if json.Unmarshal(v, &s) != nil || !json.Valid([]byte(s)) || strings.Trim(s, "-0123456789aeflrstu") != "" {
		return general
	}
	what, _, _ := strings.Cut(general, ":")
	return fmt.Sprintf("%s: write %s without quotes", what, words.Clip(s))
}
