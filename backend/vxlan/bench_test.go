package vxlan_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"flanneld/backend"
	"flanneld/backend/backendtest"
	"flanneld/pkg/datapath/kernel"
	"flanneld/pkg/netlab"
	"flanneld/subnet"
)

// BenchmarkPass is what a pass of a large cluster costs on the kernel when nothing
// has changed: plan, read, compare.
func BenchmarkPass(b *testing.B) {
	for _, n := range []int{1000, 5000, 20000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			host := newHost(b)
			p := backendtest.NewHost(b, nil).Params()
			p.Log = slog.New(slog.DiscardHandler)
			kern := kernel.Kernel{}
			p.Kernel, p.Underlay.Name, p.Underlay.V4 = kern, netlab.Uplink, host.Addr().Addr()
			vx, err := newBackend(`{}`, p)
			if err != nil {
				b.Fatal(err)
			}
			plane := backend.Plane{Network: netip.MustParsePrefix("10.0.0.0/8"), Subnet: netip.MustParsePrefix("10.200.0.0/24")}
			if err := vx.Advertise(&subnet.Claim{Subnet: plane.Subnet, PublicIP: host.Addr().Addr()}); err != nil {
				b.Fatal(err)
			}
			for i := range n {
				plane.Peers = append(plane.Peers, subnet.Claim{
					Subnet:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(1 + i/250), byte(i % 250), 0}), 24),
					PublicIP: netip.AddrFrom4([4]byte{198, 18, byte(i / 250), byte(1 + i%250)}),
					Data:     fmt.Sprintf(`{"VNI":1,"VtepMAC":"02:00:00:00:%02x:%02x"}`, i/256, i%256),
				})
			}
			planes := []backend.Plane{plane}
			b.ReportAllocs()
			for b.Loop() {
				if err := backendtest.Set(b.Context(), vx, p, kern, planes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
