package etcd2

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"

	"go.etcd.io/etcd/client/v2"
)

// remedy says what to do about one endpoint's error; empty if nobody knows.
func remedy(err error) string {
	text := err.Error()
	has := func(s string) bool { return strings.Contains(text, s) }
	if hint := remedyTLS(err); hint != "" {
		return hint
	}
	if _, ok := errors.AsType[*serverError](err); ok {
		switch {
		case has("TTLs are unsupported"):
			return "this etcd has only an imitation of the v2 API, which cannot keep leases: start it with --enable-v2=true and without --experimental-enable-v2v3"
		case has(" 500 "), has(" 503 "):
			return "check the other members of the etcd cluster: without most of them it cannot answer"
		}
		return "check what is between here and etcd"
	}
	switch {
	case errors.Is(err, errNoNode), errors.Is(err, errPanic), errors.Is(err, errEmpty), errors.Is(err, errNotEtcd), errors.Is(err, client.ErrInvalidJSON):
		return "check that --etcd-endpoints names an etcd, and what is between it and here"
	case errors.Is(err, errNoV2):
		return "start etcd with --enable-v2=true; etcd 3.6 and later have no v2 API"
	case errors.As(err, new(*net.DNSError)), has("dial tcp: lookup "):
		return "check the names in --etcd-endpoints, and the resolver"
	case errors.Is(err, errNoAnswer), has("timeout"), has("no route to host"), has("network is unreachable"):
		return "check that the host is up and reachable, and that its etcd is not stopped or overloaded"
	case has("connection refused"), has("connection reset"):
		return "check that etcd runs there and listens on this address"
	case has("has no leader"):
		return "check the other members of the etcd cluster: without most of them it cannot answer"
	case has("redirect"):
		return "check that --etcd-endpoints names an etcd: what answers there sends us elsewhere"
	case strings.HasSuffix(text, "EOF"):
		return "if etcd is up: http:// to a TLS port, or https:// to a plain one?"
	case strings.HasPrefix(text, "110:"), strings.HasPrefix(text, "0: Insufficient"):
		return "check --etcd-username and its password, and that etcd's role lets this user read and write below --etcd-prefix"
	}
	return ""
}

// ofTLS reports whether a connection was refused for a certificate, by us or by
// etcd.
func ofTLS(err error) bool {
	return errors.As(err, new(*tls.CertificateVerificationError)) || strings.Contains(err.Error(), "remote error: tls:")
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
		return plainPort
	}
	return ""
}
