package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

// noted is a store whose every call and answer is noted. A call is noted when it
// is made, with an unknown outcome, and again when it has ended: its host may be
// killed in between. Watches are not noted; what they say is in the history.
type noted struct {
	subnet.Store
	host string
	note func(note)
	last *atomic.Int64 // number of the last call; shared by a host's lives
}

func (s *noted) begin(k kind, l subnet.Lease) note {
	n := note{Kind: k}
	if k == remove {
		n.Rev = uint64(l.Rev)
	}
	if k != list {
		n.Key, n.Value = wire.Key(l.Key()), encode(l)
	}
	return s.made(n)
}

// made completes and notes what is known of a call when it is made.
func (s *noted) made(n note) note {
	n.Host, n.Call, n.At, n.Done = s.host, now(), never, unknown
	n.ID = fmt.Sprintf("%d", s.last.Add(1))
	s.note(n)
	return n
}

func (s *noted) end(n note, l subnet.Lease, err error) {
	switch {
	case err == nil:
		n.Done, n.Rev = ok, uint64(l.Rev)
	case errors.Is(err, subnet.ErrTaken):
		n.Done = taken
	case errors.Is(err, subnet.ErrLost):
		n.Done = lost
	default:
		return // nobody knows whether and when it is done
	}
	n.At = now()
	s.note(n)
}

func encode(l subnet.Lease) string {
	value, err := wire.Encode(l)
	if err != nil {
		panic(err)
	}
	return value
}

func (s *noted) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	n := s.begin(list, subnet.Lease{})
	leases, rev, err := s.Store.Leases(ctx)
	n.All = make(map[string]string)
	for _, l := range leases {
		n.All[wire.Key(l.Key())] = encode(l)
	}
	s.end(n, subnet.Lease{Rev: rev}, err)
	return leases, rev, err
}

func (s *noted) Create(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	n := s.begin(create, l)
	l, err := s.Store.Create(ctx, l, ttl)
	s.end(n, l, err)
	return l, err
}

func (s *noted) Renew(ctx context.Context, was, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	n := s.made(note{Kind: renew, Key: wire.Key(l.Key()), Value: encode(l), Was: encode(was)})
	l, err := s.Store.Renew(ctx, was, l, ttl)
	s.end(n, l, err)
	return l, err
}

func (s *noted) Refresh(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, bool, error) {
	n := s.begin(refresh, l)
	l, quiet, err := s.Store.Refresh(ctx, l, ttl)
	s.end(n, l, err)
	return l, quiet, err
}

func (s *noted) Delete(ctx context.Context, l subnet.Lease) error {
	n := s.begin(remove, l)
	err := s.Store.Delete(ctx, l)
	s.end(n, l, err)
	return err
}
