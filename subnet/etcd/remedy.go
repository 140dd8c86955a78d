package etcd

import (
	"crypto/x509"
	"errors"
	"net"
	"strings"
)

// ErrNoAnswer says that nothing was answered in time.
var ErrNoAnswer = errors.New("no answer in time")

// NoAPIError says that etcd does not have the API that was asked for: no endpoint that
// answers has it. Silent are the failures of those that do not answer.
type NoAPIError struct{ Silent []error }

func (NoAPIError) Error() string { return "etcd does not have this API" }

// NoQuorum is the remedy for a member that cannot reach most of the others.
const NoQuorum = "check the other members of the etcd cluster: without most of them it cannot answer"

// Remedy says what to do about an error of reaching one endpoint; empty if that is
// not known.
func Remedy(err error) string {
	if hint := remedyTLS(err); hint != "" {
		return hint
	}
	e, ok := errors.AsType[*proxyError](err)
	if ok && e.used {
		return "check that the proxy of --etcd-proxy runs and lets this host reach etcd; without the flag etcd is reached directly"
	}
	hint := remedyDirect(err)
	if ok && hint != "" {
		hint += "; the proxy " + e.proxy + " of the environment is not used for etcd without --etcd-proxy"
	}
	return hint
}

// remedyDirect is Remedy for a connection without a proxy.
func remedyDirect(err error) string {
	text := err.Error()
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case errors.As(err, new(*net.DNSError)), has("dial tcp: lookup "):
		return "check the names in --etcd-endpoints, or in the records of --etcd-srv, and the resolver"
	case errors.Is(err, ErrNoAnswer), has("timeout"), has("no route to host"), has("network is unreachable"):
		return "check that the host is up and reachable, and that its etcd is not stopped or overloaded"
	case has("connection refused"), has("connection reset"):
		return "check that etcd runs there and listens on this address"
	case has("has no leader"):
		return NoQuorum
	case has("redirect"):
		return "check that --etcd-endpoints names an etcd: what answers there sends us elsewhere"
	case strings.HasSuffix(text, "EOF"):
		return "if etcd is up: http:// to a TLS port, or https:// to a plain one?"
	}
	return ""
}

func remedyTLS(err error) string {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "etcd's certificate, or the authority that signed it, is not valid at this time: renew it, and check the clocks of this host and of etcd's"
	}
	switch text := err.Error(); {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "name the authority that signed etcd's certificate with --etcd-cafile"
	case errors.As(err, new(x509.HostnameError)):
		return "name etcd in --etcd-endpoints as its certificate does, or give it a certificate with this name or address"
	case strings.Contains(text, "x509:"):
		return "check --etcd-cafile and etcd's certificate"
	case strings.Contains(text, "remote error: tls:"):
		return "etcd does not take this host's certificate: check that --etcd-certfile and --etcd-keyfile are given, signed by the authority in etcd's --trusted-ca-file, meant for clients and not expired"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"), strings.Contains(text, "first record does not look like a TLS handshake"):
		return PlainPort
	}
	return ""
}
