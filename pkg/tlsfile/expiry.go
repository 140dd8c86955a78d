package tlsfile

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"
)

const day = 24 * time.Hour

// steps are the times before its end when a certificate is warned about. A step of more
// than half of a certificate's life is none: what lives for a day is renewed within
// one.
var steps = [...]time.Duration{30 * day, 7 * day, day, 0}

// expiry is when a certificate ends, and which warnings were logged.
type expiry struct {
	name string // "certificate" or "authority"
	file string
	end  time.Time
	life time.Duration
	said int // how many of the steps are behind us
}

func newExpiry(name, file string, c *x509.Certificate) *expiry {
	return &expiry{name: name, file: file, end: c.NotAfter, life: c.NotAfter.Sub(c.NotBefore)}
}

// warn logs that a certificate has reached a step, once per step. Of several steps at
// once it logs the last.
func warn(dates []*expiry, log *slog.Logger) {
	for _, d := range dates {
		left := time.Until(d.end)
		reached := d.said
		for i, step := range steps[d.said:] {
			if left <= step && step <= d.life/2 {
				reached = d.said + i + 1
			}
		}
		if reached == d.said {
			continue
		}
		d.said = reached
		args := []any{"file", d.file, "expires", d.end.Format(time.RFC3339)}
		if left <= 0 {
			log.Error("The TLS "+d.name+" has expired; replace the file, which is read again by itself", args...)
		} else {
			log.Warn(fmt.Sprintf("The TLS %s expires in %s; replace the file, which is read again by itself", d.name, about(left)), args...)
		}
	}
}

// about returns a time in words.
func about(d time.Duration) string {
	if d >= 2*day {
		return fmt.Sprintf("%d days", d.Round(day)/day)
	}
	return d.Round(time.Minute).String()
}
