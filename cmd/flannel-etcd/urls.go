package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// parseURLs splits a list of URLs at its commas, without blanks around them.
// Errors name from, the flag or variable it came from. One can listen only at an
// address.
func parseURLs(list, from string, listen bool) (urls, error) {
	var out urls
	for s := range strings.SplitSeq(list, ",") {
		u, err := parseURL(strings.TrimSpace(s), from, listen)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

func parseURL(s, from string, listen bool) (url.URL, error) {
	const example = "http://192.0.2.1:2379"
	bad := func(hint string) (url.URL, error) {
		return url.URL{}, usageError{Msg: fmt.Sprintf("invalid URL %q in %s", s, from), Hint: hint}
	}
	if !strings.Contains(s, "://") {
		return bad("put the scheme first, as in " + example)
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return bad("give a URL such as " + example)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return bad("the scheme must be http or https")
	}
	if n, err := strconv.Atoi(u.Port()); err != nil || n < 1 || n > 65535 {
		return bad("give the port, 1 to 65535, as in " + example)
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && listen && u.Hostname() != "localhost" {
		return bad("one listens at an address, not at a name; give one of this host's, or 0.0.0.0 for all")
	}
	return url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// scheme returns a usageError if a URL is https and there is no certificate for
// it, or http though there is one: then what was meant to be secret is not.
func scheme(us urls, t tlsFiles, from, files string) error {
	for _, u := range us {
		if u.Scheme == "https" && t.Cert == "" {
			return usageError{
				Msg:  fmt.Sprintf("%s has %s, and there is no certificate", from, &u),
				Hint: "give " + files + ", or use http",
			}
		}
		if u.Scheme == "http" && t.Cert != "" && !loopback(u.Hostname()) {
			return usageError{
				Msg:  fmt.Sprintf("%s has %s, which is in the clear though there is a certificate", from, &u),
				Hint: "use https there, or leave out " + files,
			}
		}
	}
	return nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// reachable turns "all addresses" in a host with port into the loopback one.
func reachable(hostport string) string {
	a, err := netip.ParseAddrPort(hostport)
	if err != nil || !a.Addr().IsUnspecified() {
		return hostport
	}
	host := "127.0.0.1"
	if a.Addr().Is6() {
		host = "::1"
	}
	return net.JoinHostPort(host, strconv.Itoa(int(a.Port())))
}
