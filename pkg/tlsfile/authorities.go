package tlsfile

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
)

// authorities returns the certificates in a PEM file, at least one. What else is
// in it is passed over, and so is a certificate that cannot be read, which
// bundles have now and then.
func authorities(file []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	var bad error
	for {
		var block *pem.Block
		if block, file = pem.Decode(file); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			bad = err
			continue
		}
		all = append(all, c)
	}
	if all == nil && bad == nil {
		bad = errors.New("there is no certificate")
	}
	if all == nil {
		return nil, bad
	}
	return all, nil
}
