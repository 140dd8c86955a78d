package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// parseEndpoints splits a comma list of etcd client URLs, without blanks
// around them. Errors name from, the flag or variable the list came from, and
// never repeat credentials somebody put into a URL.
func parseEndpoints(list, from string) ([]string, error) {
	var out []string
	for e := range strings.SplitSeq(list, ",") {
		e = strings.TrimSpace(e)
		if err := checkEndpoint(e, from); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func checkEndpoint(e, from string) error {
	const example = "http://127.0.0.1:2379"
	bad := func(hint string) error {
		return usageError{Msg: fmt.Sprintf("invalid endpoint %q in %s", e, from), Hint: hint}
	}
	switch {
	case e == "":
		return usageError{Msg: from + " has an empty endpoint", Hint: "give URLs such as " + example + ", separated by commas"}
	case strings.Contains(e, "@"):
		return usageError{Msg: from + " has credentials in an endpoint", Hint: "use --etcd-username and --etcd-password"}
	case !strings.Contains(e, "://"):
		return bad("put the scheme first: http://" + e)
	}
	u, err := url.Parse(e)
	if err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return bad("give a URL such as " + example)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return bad("the scheme must be http or https")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return bad("a port is 1 to 65535")
		}
	}
	return nil
}
