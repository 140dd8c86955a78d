package main

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/pkg/firewall/nft"
	"flanneld/subnet"
)

func TestTieOf(t *testing.T) {
	mac := func(last byte) datapath.MAC { return datapath.MAC{2, 5: last} }
	neigh := func(ip string, last byte) datapath.Neigh {
		return datapath.Neigh{Link: "eth0", IP: netip.MustParseAddr(ip), MAC: mac(last)}
	}
	peer := func(network, ip string) subnet.Claim {
		return subnet.Claim{Subnet: netip.MustParsePrefix(network), PublicIP: netip.MustParseAddr(ip)}
	}
	pair := func(last byte, network string) nft.Station {
		return nft.Station{MAC: mac(last), Addr: netip.MustParseAddr(network)}
	}
	peers := []subnet.Claim{peer("10.1.2.0/24", "192.0.2.2"), peer("10.1.3.0/24", "192.0.2.3"), peer("10.1.4.0/22", "192.0.2.4")}
	for _, row := range []struct {
		name       string
		neighbours []datapath.Neigh
		allow      string
		strict     bool
		pairs      []nft.Station
		stations   []byte
		lengths    []int
	}{
		{"nobody is known", nil, "", false, nil, nil, nil},
		{"nobody is known, strict", nil, "", true, nil, nil, nil},
		{"a peer and a stranger", []datapath.Neigh{neigh("192.0.2.3", 3), neigh("192.0.2.66", 66)}, "", false,
			[]nft.Station{pair(3, "10.1.3.0")}, []byte{3, 66}, []int{24}},
		{"subnets of two lengths, behind one station", []datapath.Neigh{neigh("192.0.2.3", 9), neigh("192.0.2.4", 9)}, "", false,
			[]nft.Station{pair(9, "10.1.3.0"), pair(9, "10.1.4.0")}, []byte{9, 9}, []int{22, 24}},
		{"another address of the peer is allowed", []datapath.Neigh{neigh("192.0.2.3", 3), neigh("192.0.2.33", 33), neigh("10.1.3.1", 33), neigh("192.0.2.66", 66)},
			"192.0.2.33/32", false, []nft.Station{pair(3, "10.1.3.0")}, []byte{3, 66}, []int{24}},
		{"the same, strict", []datapath.Neigh{neigh("192.0.2.3", 3), neigh("192.0.2.33", 33), neigh("192.0.2.66", 66)},
			"192.0.2.33/32", true, []nft.Station{pair(3, "10.1.3.0")}, []byte{33}, []int{24}},
	} {
		var allow []netip.Prefix
		if row.allow != "" {
			allow = append(allow, netip.MustParsePrefix(row.allow))
		}
		got := tieOf(peers, row.neighbours, allow, row.strict)
		var stations []byte
		for _, s := range got.stations {
			stations = append(stations, s.MAC[5])
		}
		for _, d := range []string{
			cmp.Diff(row.pairs, got.pairs, cmpAddr), cmp.Diff(row.stations, stations), cmp.Diff(row.lengths, got.lengths()),
		} {
			if d != "" {
				t.Errorf("%s (-want +got):\n%s", row.name, d)
			}
		}
	}
}

// direct is a backend whose packets come by the underlay as they are.
type direct struct{ backend.Backend }

func (direct) Ingress(bool) backend.Ingress { return backend.Ingress{Direct: true} }

// links is a network that tells which link was looked at and watched.
type links struct{ looked, watched chan string }

func (l links) Neighbours(_ context.Context, link string) ([]datapath.Neigh, error) {
	l.looked <- link
	return nil, nil
}

func (l links) WatchNeighbours(ctx context.Context, link string, wake chan<- struct{}) error {
	l.watched <- link
	wake <- struct{}{}
	<-ctx.Done()
	return nil
}

// The external interface can get another name while the daemon runs.
func TestStationsAreThoseOnTheInterfaceOfNow(t *testing.T) {
	network := links{make(chan string), make(chan string)}
	g := newGuard(options{PeerFilter: true}, false, backend.Underlay{Name: "eth0"}, nil, subnetEnv{}, network, discard)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	defer done.Wait()
	defer cancel()
	done.Go(func() { g.followStations(ctx) })
	planes := []backend.Plane{{Network: netip.MustParsePrefix("10.1.0.0/16"), Subnet: netip.MustParsePrefix("10.1.1.0/24")}}
	for _, name := range []string{"eth0", "wan0"} {
		g.underlay.Name = name
		g.update(planes, direct{})
		for _, asked := range []chan string{network.watched, network.looked} {
			select {
			case got := <-asked:
				if got != name {
					t.Errorf("%s is asked about, want %s", got, name)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s is not watched, or not looked at", name)
			}
		}
	}
}
