package etcd3

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"flanneld/subnet"
	etcdproc "flanneld/subnet/storetest/etcd"
	"flanneld/subnet/wire"
)

// BenchmarkLeases lists 5,000 leases into a View, and follows them. Its memory is that of the
// whole process.
func BenchmarkLeases(b *testing.B) {
	url := etcdproc.Start(b)
	c := byHand(b, url)
	id, err := c.Grant(b.Context(), int64(time.Hour/time.Second))
	if err != nil {
		b.Fatal(err)
	}
	s := newTestStore(b, Options{Endpoints: []string{url}, Prefix: "/net"}, defaults(0))
	const n = 5000
	var puts []clientv3.Op
	for i := range n {
		l := subnet.Lease{Type: "vxlan", Node: fmt.Sprintf("%032x", i), V4: subnet.Claim{
			Subnet:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24),
			PublicIP: netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}),
			Data:     `{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}`,
		}}
		value, err := wire.Encode(l)
		if err != nil {
			b.Fatal(err)
		}
		if puts = append(puts, clientv3.OpPut(s.leaseKey(l.Key()), value, clientv3.WithLease(id.ID))); len(puts) == 100 {
			if _, err := c.Txn(b.Context()).Then(puts...).Commit(); err != nil {
				b.Fatal(err)
			}
			puts = nil
		}
	}
	view := subnet.NewView()
	b.ReportAllocs()
	for b.Loop() {
		all, rev, err := s.Leases(b.Context())
		if err != nil || len(all) != n {
			b.Fatalf("%d leases, %v", len(all), err)
		}
		view.Reset(subnet.Snapshot{Leases: all, Rev: rev})
	}
	b.StopTimer()
	statm, err := os.ReadFile("/proc/self/statm")
	var size, resident int
	if _, bad := fmt.Sscan(string(statm), &size, &resident); err != nil || bad != nil {
		b.Fatal(err, bad)
	}
	b.ReportMetric(float64(resident*os.Getpagesize())/1e6, "MB-resident")
}
