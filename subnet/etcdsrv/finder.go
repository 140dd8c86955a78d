// Package etcdsrv finds etcd by DNS: it decides which SRV records of a domain are etcd's
// endpoints, and when to look them up again. It does not know which API is spoken there;
// the stores are values.
package etcdsrv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"flanneld/pkg/words"
)

const (
	lookupTime = 3 * time.Second  // the longest time of a look-up
	lookAgain  = 15 * time.Second // the shortest time between two, once there are endpoints
	lookFirst  = time.Second      // likewise, while there are none
	// mostRecords is more than any etcd has members, and bounds what a resolver can make
	// the stores ask.
	mostRecords = 32
)

// The services of etcd's clients, as etcd's own programs know them.
const (
	overTLS = "etcd-client-ssl"
	plain   = "etcd-client"
)

// Finder looks etcd's endpoints up. Safe for concurrent use.
type Finder struct {
	Domain   string        // whose records name the endpoints
	Secure   string        // what would be lost over plain connections, such as "the password"; empty: nothing
	Resolver *net.Resolver // nil: the system's
	Log      *slog.Logger

	mu        sync.Mutex
	endpoints []string // sorted; nil: none were found yet
	err       error    // of the last look-up
	when      time.Time
}

// Endpoints returns etcd's client URLs, in order. Again says that those of before do not
// answer: then they are looked up again, if that is not too soon. If that fails, they are
// those of before.
func (f *Finder) Endpoints(ctx context.Context, again bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pause := lookAgain
	if f.endpoints == nil {
		pause, again = lookFirst, true
	}
	if again && (f.when.IsZero() || time.Since(f.when) >= pause) {
		f.look(ctx)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if f.endpoints == nil {
		return nil, f.err
	}
	return f.endpoints, nil
}

// look makes the endpoints those of now, unless ctx is done before they are known.
func (f *Finder) look(ctx context.Context) {
	bound, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	found, err := f.lookup(bound)
	if ctx.Err() != nil {
		return
	}
	f.when = time.Now()
	if err != nil {
		err = fmt.Errorf("find etcd by --etcd-srv=%s: %w", f.Domain, err)
		if f.endpoints != nil && (f.err == nil || f.err.Error() != err.Error()) {
			f.Log.Warn("Cannot look up etcd's SRV records again; keeping the endpoints", "endpoints", f.endpoints, "err", err)
		}
		f.err = err
		return
	}
	if f.err = nil; !slices.Equal(found, f.endpoints) {
		f.Log.Info("Found etcd by DNS", "domain", f.Domain, "endpoints", found)
		f.endpoints = found
	}
}

// lookup asks for the records of connections with TLS, and for those of plain ones if there
// are none. What the resolver does not answer is not taken for none, or whoever holds an
// answer back could have all sent in the clear.
func (f *Finder) lookup(ctx context.Context) ([]string, error) {
	found, err := f.records(ctx, overTLS, "https")
	if err != nil || found != nil {
		return found, err
	}
	found, err = f.records(ctx, plain, "http")
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, fmt.Errorf("there is neither a record %s nor %s (check the domain, and what the resolver knows of it)",
			f.record(overTLS), f.record(plain))
	case f.Secure != "":
		return nil, fmt.Errorf("there is only a record %s, whose connections are plain, and none %s, which %s needs", f.record(plain), f.record(overTLS), f.Secure)
	}
	return found, nil
}

func (f *Finder) record(service string) string { return "_" + service + "._tcp." + f.Domain }

// records returns the endpoints of one record; nil: there is none.
func (f *Finder) records(ctx context.Context, service, scheme string) ([]string, error) {
	resolver := f.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	// The dot at the end keeps the resolver from trying other domains.
	_, all, err := resolver.LookupSRV(ctx, service, "tcp", strings.TrimSuffix(f.Domain, ".")+".")
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w (check the resolver)", err) // which it names, and the record
	}
	found, err := endpoints(f.Domain, scheme, all)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", f.record(service), err)
	}
	return found, nil
}

var hostName = regexp.MustCompile(`^[0-9a-z_-]+(\.[0-9a-z_-]+)*$`)

// endpoints returns the URLs of SRV records, in order. Targets outside the domain are
// refused: then whoever forges an answer still has to show a certificate for a name in the
// domain.
func endpoints(domain, scheme string, records []*net.SRV) ([]string, error) {
	if len(records) > mostRecords {
		return nil, fmt.Errorf("it has %d targets, more than %d", len(records), mostRecords)
	}
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	var found []string
	for _, r := range records {
		host := strings.ToLower(strings.TrimSuffix(r.Target, "."))
		if host == "" { // there is decidedly no such service (RFC 2782)
			continue
		}
		if !hostName.MatchString(host) {
			return nil, fmt.Errorf("its target %q is no host name", words.Clip(host))
		}
		if host != domain && !strings.HasSuffix(host, "."+domain) {
			return nil, fmt.Errorf("its target %s is outside the domain (name etcd in it, or with --etcd-endpoints)", words.Clip(host))
		}
		if r.Port == 0 {
			return nil, fmt.Errorf("its target %s has the port 0", words.Clip(host))
		}
		found = append(found, scheme+"://"+net.JoinHostPort(host, strconv.Itoa(int(r.Port))))
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}
