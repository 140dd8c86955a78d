package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"flanneld/pkg/smallfile"
)

// dated is a certificate that etcd or this host shows.
type dated struct {
	what string
	cert *x509.Certificate
}

// lookCertificates looks when the certificates end that are shown to etcd and by etcd.
func lookCertificates(ctx context.Context, h *Host) Result {
	o := h.Options.Etcd
	var all, authorities []dated
	for _, file := range []string{o.CertFile, o.CAFile} {
		if file == "" {
			continue
		}
		const most = 1 << 20 // bytes
		text, err := smallfile.Read(file, most)
		if errors.Is(err, fs.ErrPermission) {
			return skip("it needs root: %v", err)
		}
		if err != nil {
			return fail("%v", err).mend("# put it there, or name another in --etcd-certfile, --etcd-keyfile and --etcd-cafile")
		}
		for _, c := range parsePEM(text) {
			if file == o.CertFile {
				all = append(all, dated{file, c})
			} else {
				authorities = append(authorities, dated{file, c})
			}
		}
	}
	if o.CertFile != "" {
		_, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if errors.Is(err, fs.ErrPermission) {
			return skip("it needs root: %v", err)
		}
		if err != nil {
			return fail("%s and %s: %v", o.CertFile, o.KeyFile, err).mend("# replace them by a pair that belongs together")
		}
	}
	members, err := greet(ctx, h)
	for _, m := range members {
		for i, c := range m.certs {
			what := "that of " + m.endpoint
			if i > 0 {
				what = "of an authority of " + m.endpoint
			}
			all = append(all, dated{what, c})
		}
		if certificateError(m.err) {
			return fail("%v", m.err).mend("# replace the certificate of " + m.endpoint + ", or name its authority with --etcd-cafile")
		}
	}
	// A file of many authorities may have some that nobody uses. Which one is used is only known
	// when etcd answers.
	if asked := slices.ContainsFunc(members, func(m member) bool { return m.certs != nil }); !asked && len(authorities) > 0 {
		all = append(all, slices.MaxFunc(authorities, func(a, b dated) int { return a.cert.NotAfter.Compare(b.cert.NotAfter) }))
	}
	if len(all) == 0 {
		if err != nil {
			return skip("%v", err)
		}
		return pass("etcd is reached without TLS")
	}
	return ends(all, time.Now())
}

func certificateError(err error) bool {
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(x509.CertificateInvalidError)) ||
		errors.As(err, new(x509.UnknownAuthorityError)) || errors.As(err, new(x509.HostnameError))
}

// lasting returns the chain, of those that verify a certificate, that does so for the longest time.
func lasting(chains [][]*x509.Certificate) (best []*x509.Certificate) {
	end := func(chain []*x509.Certificate) time.Time {
		return slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
	}
	for _, c := range chains {
		if best == nil || end(c).After(end(best)) {
			best = c
		}
	}
	return best
}

// parsePEM returns the certificates of a file; what is none is passed over.
func parsePEM(text []byte) (all []*x509.Certificate) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all
		}
		if c, err := x509.ParseCertificate(block.Bytes); block.Type == "CERTIFICATE" && err == nil {
			all = append(all, c)
		}
	}
}

// ends judges certificates by the one that ends first. One that lives for a short time is
// renewed within that.
func ends(all []dated, now time.Time) Result {
	const soon = 30 * 24 * time.Hour
	first := slices.MinFunc(all, func(a, b dated) int { return a.cert.NotAfter.Compare(b.cert.NotAfter) })
	left := first.cert.NotAfter.Sub(now)
	saw := fmt.Sprintf("the certificate %s (%s) ends at %s", first.what, first.cert.Subject.CommonName, first.cert.NotAfter.UTC().Format(time.RFC3339))
	const mend = "# replace the file: flanneld reads it again by itself, etcd needs a restart before 3.2"
	switch {
	case left <= 0:
		return fail("%s, which is over", saw).mend(mend)
	case left <= min(soon, first.cert.NotAfter.Sub(first.cert.NotBefore)/2):
		return warn("%s, in %s", saw, left.Round(time.Hour)).mend(mend)
	}
	return pass("%s, the first of %d", saw, len(all))
}
