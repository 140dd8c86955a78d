// Package tlsfile keeps a TLS client's configuration equal to its files: a file that is
// renewed is used for the next connection, and one that runs out is logged in time. It
// does not know which server the client connects to.
package tlsfile

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Files are paths of PEM files. Cert and Key, which belong together, may both be
// empty: no client certificate. CA may be empty: the system's authorities.
type Files struct{ Cert, Key, CA string }

// lookEvery is the longest time for which the files are not read again. Certificates
// are renewed days before they run out.
const lookEvery = 5 * time.Second

// maxSize bounds a file: the system's bundle of all authorities is a fifth of it.
const maxSize = 1 << 20

// Source is the configuration that the files make. Safe for concurrent use.
type Source struct {
	files Files
	log   *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	read    contents // what config was made of
	refused contents // what cannot be used, and was logged
	reason  string   // why; empty: it can
	config  *tls.Config
	dates   []*expiry
}

// contents are those of the files.
type contents struct{ cert, key, ca []byte }

func (c contents) equal(d contents) bool {
	return bytes.Equal(c.cert, d.cert) && bytes.Equal(c.key, d.key) && bytes.Equal(c.ca, d.ca)
}

// Open reads the files. The log is told when they change, and before a
// certificate runs out.
func Open(f Files, log *slog.Logger) (*Source, error) {
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("a certificate and its key are needed, not one of them")
	}
	s := &Source{files: f, log: log, looked: time.Now()}
	c, err := f.read()
	if err == nil {
		s.config, s.dates, err = f.parse(c)
	}
	if err != nil {
		return nil, err
	}
	s.read = c
	s.warn()
	return s, nil
}

// Config returns the configuration that the files make now, or did a few seconds ago.
// The pointer is the same while the configuration is; do not change what it points to.
// While the files make none, as when they are being replaced, it is the last one.
//
// No single tls.Config could follow the file of the authorities: a callback that
// verifies the server, such as VerifyConnection, is not given the name to check if that
// is an IP address (tls.ConnectionState.ServerName is empty then).
func (s *Source) Config() *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.looked) >= lookEvery {
		s.look()
	}
	return s.config
}

// Look reads the files now: a server has refused them, or they have refused a server.
func (s *Source) Look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look()
}

func (s *Source) look() {
	s.looked = time.Now()
	defer s.warn()
	c, err := s.files.read()
	if err == nil && c.equal(s.read) {
		s.refused, s.reason = contents{}, ""
		return
	}
	var config *tls.Config
	var dates []*expiry
	if err == nil {
		config, dates, err = s.files.parse(c)
	}
	if err != nil {
		if err.Error() != s.reason || !c.equal(s.refused) {
			s.log.Warn("TLS files have changed and cannot be used; going on with what they held before", "err", err)
		}
		s.refused, s.reason = c, err.Error()
		return
	}
	s.read, s.refused, s.reason, s.config, s.dates = c, contents{}, "", config, dates
	args := []any{}
	for _, d := range dates {
		args = append(args, d.name+"Expires", d.end.Format(time.RFC3339))
	}
	s.log.Info("TLS files have changed; they are used for new connections", args...)
}

func (f Files) read() (c contents, err error) {
	for _, file := range []struct {
		path string
		into *[]byte
	}{{f.Cert, &c.cert}, {f.Key, &c.key}, {f.CA, &c.ca}} {
		if file.path == "" {
			continue
		}
		if *file.into, err = readFile(file.path); err != nil {
			return contents{}, err
		}
	}
	return c, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(b) > maxSize {
		err = fmt.Errorf("read %s: it is larger than %d bytes", path, maxSize)
	}
	return b, err
}

// parse makes a configuration of the files' contents.
func (f Files) parse(c contents) (*tls.Config, []*expiry, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	var dates []*expiry
	if f.Cert != "" {
		pair, err := tls.X509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, nil, fmt.Errorf("read certificate %s and key %s: %w", f.Cert, f.Key, err)
		}
		// Certificates would leave it out if the server names other authorities,
		// and the server then misses one instead of saying what is wrong with it.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		dates = append(dates, newExpiry("certificate", f.Cert, pair.Leaf))
	}
	if f.CA != "" {
		all, err := authorities(c.ca)
		if err != nil {
			return nil, nil, fmt.Errorf("read authorities in %s: %w", f.CA, err)
		}
		config.RootCAs = x509.NewCertPool()
		last := all[0]
		for _, ca := range all {
			config.RootCAs.AddCert(ca)
			if ca.NotAfter.After(last.NotAfter) {
				last = ca // while one is replaced there are two
			}
		}
		dates = append(dates, newExpiry("authority", f.CA, last))
	}
	return config, dates, nil
}
