// Package tlsfile keeps a TLS client's configuration equal to its files: a file that is
// renewed is used for the next connection, and one that runs out is logged in time. It
// does not know which server the client connects to.
package tlsfile

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"flanneld/pkg/reread"
)

// Files are paths of PEM files. Cert and Key, which belong together, may both be
// empty: no client certificate. CA may be empty: the system's authorities.
type Files struct{ Cert, Key, CA string }

// Source is the configuration that the files make. Safe for concurrent use.
type Source struct{ files *reread.Value[contents] }

// contents are what the files hold.
type contents struct {
	config *tls.Config
	dates  []*expiry
}

// Open reads the files. The log is told when they change, and before a
// certificate runs out.
func Open(f Files, log *slog.Logger) (*Source, error) {
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("a certificate and its key are needed, not one of them")
	}
	files, err := reread.Open([]string{f.Cert, f.Key, f.CA}, f.parse, func(c contents, changed bool, err error) {
		if changed {
			args := []any{}
			for _, d := range c.dates {
				args = append(args, d.name+"Expires", d.end.Format(time.RFC3339))
			}
			log.Info("TLS files have changed; they are used for new connections", args...)
		}
		if err != nil {
			log.Warn("TLS files have changed and cannot be used; using what they held before", "err", err)
		}
		warn(c.dates, log)
	})
	if err != nil {
		return nil, err
	}
	warn(files.Get().dates, log)
	return &Source{files}, nil
}

// Config returns the configuration that the files make now, or did a few seconds ago.
// The pointer is the same while the configuration is; do not change what it points to.
// While the files make none, as when they are being replaced, it is the last one.
//
// No single tls.Config could follow the file of the authorities: a callback that
// verifies the server, such as VerifyConnection, is not given the name to check if that
// is an IP address (tls.ConnectionState.ServerName is empty then).
func (s *Source) Config() *tls.Config { return s.files.Get().config }

// Look reads the files now: a server has refused them, or they have refused a server.
func (s *Source) Look() { s.files.Look() }

// parse makes a configuration of the texts of the certificate, the key and the
// authorities.
func (f Files) parse(files []string) (contents, error) {
	c := contents{config: &tls.Config{MinVersion: tls.VersionTLS12}}
	if f.CA != "" {
		all, err := authorities(files[2])
		if err != nil {
			return contents{}, fmt.Errorf("read authorities in %s: %w", f.CA, err)
		}
		c.config.RootCAs = x509.NewCertPool()
		last := all[0]
		for _, ca := range all {
			c.config.RootCAs.AddCert(ca)
			if ca.NotAfter.After(last.NotAfter) {
				last = ca // while one is replaced there are two
			}
		}
		c.dates = append(c.dates, newExpiry("authority", f.CA, last))
	}
	if f.Cert != "" {
		pair, err := tls.X509KeyPair([]byte(files[0]), []byte(files[1]))
		if err != nil {
			return contents{}, fmt.Errorf("read certificate %s and key %s: %w", f.Cert, f.Key, err)
		}
		// Certificates would leave it out if the server names other authorities,
		// and the server then misses one instead of saying what is wrong with it.
		c.config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		c.dates = append(c.dates, newExpiry("certificate", f.Cert, pair.Leaf))
	}
	return c, nil
}

// authorities returns the certificates in a PEM file, at least one. What else is
// in it is ignored, and so is a certificate that cannot be read, which
// bundles have now and then.
func authorities(file string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	bad := errors.New("there is no certificate")
	for block, rest := pem.Decode([]byte(file)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, c)
		} else {
			bad = err
		}
	}
	if all == nil {
		return nil, bad
	}
	return all, nil
}
