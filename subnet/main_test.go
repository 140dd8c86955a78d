package subnet_test

import (
	"os"
	"testing"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/memstore"
	"flanneld/subnet/wire"
)

// memory is a memstore that takes leases and keys.
type memory struct{ *memstore.Store }

func (m memory) Force(l subnet.Lease, ttl time.Duration) {
	value, err := wire.Encode(l)
	if err != nil {
		value = "no lease"
	}
	m.PutTTL(wire.Key(l.Key()), value, ttl)
}

func (m memory) Remove(k subnet.Key) { m.Store.Remove(wire.Key(k)) }

func TestMain(m *testing.M) {
	subnet.NewMemory = func() subnet.Memory { return memory{memstore.New()} }
	os.Exit(m.Run())
}
