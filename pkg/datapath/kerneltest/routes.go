package kerneltest

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

var routeCases = map[string]func(*fixture){
	"routes over the underlay": func(f *fixture) { f.apply(gateways()) },
	"blackholes": func(f *fixture) {
		want := datapath.State{Routes: []datapath.Route{
			{Dst: prefix("10.5.0.0/16"), Type: datapath.Blackhole, Protocol: protocol},
			{Dst: prefix("fd00:5::/48"), Type: datapath.Blackhole, Metric: 1024, Protocol: protocol},
		}}
		f.apply(want)
		// A route in a blackhole's place, and back.
		open := gateways()
		open.Routes[0].Dst, open.Routes[2].Dst = want.Routes[0].Dst, want.Routes[1].Dst
		f.apply(open)
		f.apply(want)
		f.apply(datapath.State{})
	},
	"changed gateway is replaced": func(f *fixture) {
		want := gateways()
		f.apply(want)
		want.Routes[0].Gateway = addr("192.0.2.9")
		want.Routes[2].Gateway = addr("2001:db8::9")
		if n := f.apply(want); n != 2 {
			f.Errorf("took %d operations, want 2", n)
		}
	},
	"changed metric": func(f *fixture) {
		want := gateways()
		f.apply(want)
		want.Routes[0].Metric = 50
		want.Routes[2].Metric = 50
		f.apply(want)
	},
	"a route is the same whatever its level": func(f *fixture) {
		for _, level := range []uint8{0, 1, 199, 0} {
			s := gateways()
			for i := range s.Routes[:2] {
				s.Routes[i].Level = level
			}
			if err := f.kernel.Do(f.Context(), sets(s)); err != nil {
				f.Errorf("level %d: %v", level, err)
			}
			f.expect(gateways())
			f.nextHop("10.5.12.7", datapath.NextHop{Link: "eth0", Gateway: addr("192.0.2.2")})
			if level == 199 {
				f.apply(datapath.State{})
			}
		}
		further := gateways().Routes[0]
		further.Level = unix.RT_SCOPE_LINK // from which on a gateway must be nearer
		f.failures(f.kernel.Do(f.Context(), sets(datapath.State{Routes: []datapath.Route{further}})), further)
	},
	"foreign route stays while unwanted and is taken over when wanted": func(f *fixture) {
		foreign := []datapath.Route{
			{Dst: prefix("10.5.4.0/24"), Gateway: addr("192.0.2.40"), Link: "eth0", Protocol: boot},
			{Dst: prefix("fd00:5:0:4::/64"), Gateway: addr("2001:db8::40"), Link: "eth0", Metric: 1024, Protocol: boot},
		}
		f.hand(datapath.Set, foreign[0], foreign[1])
		f.apply(gateways())
		for _, r := range foreign {
			r.Foreign = true
			if got := f.route(r.Dst.String()); len(got) != 1 || got[0] != r {
				f.Errorf("foreign route is now %v, want %v", got, r)
			}
		}
		want := gateways()
		for _, r := range foreign {
			r.Protocol = protocol
			want.Routes = append(want.Routes, r)
		}
		f.apply(want)
		f.apply(gateways()) // it is ours now, and goes
		if got := f.route("10.5.4.0/24"); len(got) != 0 {
			f.Errorf("a route that was taken over stays: %v", got)
		}
	},
	"route of another protocol to a wanted subnet is replaced": func(f *fixture) {
		want := join(gateways(), tunnel4())
		f.apply(want)
		f.hand(datapath.Set,
			datapath.Route{Dst: prefix("10.5.12.0/24"), Gateway: addr("192.0.2.9"), Link: "eth0", Protocol: boot},
			datapath.Route{Dst: prefix("fd00:5:0:12::/64"), Gateway: addr("2001:db8::9"), Link: "eth0", Metric: 1024, Protocol: boot})
		f.apply(want)
	},
	"route to a subnet that an interface is in is left alone": func(f *fixture) {
		f.hand(datapath.Set, datapath.Addr{Link: "eth0", Prefix: prefix("10.5.12.1/24")})
		r := datapath.Reconciler{Kernel: f.kernel, Scope: f.scope, Log: slog.New(slog.DiscardHandler)}
		want := join(gateways(), tunnel4())
		for range 2 {
			_, err := r.Apply(f.Context(), want)
			if !errors.Is(err, datapath.ErrConnected) || !datapath.OnlyRoutes(err, 1) {
				f.Errorf("Apply: %v, want ErrConnected about one route", err)
			}
			got := f.route("10.5.12.0/24")
			if len(got) != 1 || !got[0].Connected() || got[0].Link != "eth0" {
				f.Errorf("the interface's route is now %v", got)
			}
		}
		f.hand(datapath.Delete, datapath.Addr{Link: "eth0", Prefix: prefix("10.5.12.1/24")})
		f.apply(want)
	},
	"another's route that was there first is left alone": func(f *fixture) {
		foreign := []datapath.Route{
			{Dst: prefix("10.5.12.0/24"), Gateway: addr("192.0.2.9"), Link: "eth0", Metric: 100, Protocol: boot},
			{Dst: prefix("fd00:5:0:12::/64"), Gateway: addr("2001:db8::9"), Link: "eth0", Metric: 1024, Protocol: boot},
		}
		f.hand(datapath.Set, foreign[0], foreign[1])
		want := gateways()
		for range 2 {
			_, err := f.tryApply(want)
			if !errors.Is(err, datapath.ErrForeign) || !datapath.OnlyRoutes(err, 1) {
				f.Errorf("Apply: %v, want ErrForeign about routes", err)
			}
			f.expect(datapath.State{Routes: want.Routes[1:2]})
			for _, r := range foreign {
				r.Foreign = true
				if got := f.route(r.Dst.String()); len(got) != 1 || got[0] != r {
					f.Errorf("the other's route is now %v, want %v", got, r)
				}
			}
		}
		f.hand(datapath.Delete, foreign[0], foreign[1])
		f.apply(want)
	},
	"gateway that was this host's own address": func(f *fixture) {
		before := tunnel4()
		f.apply(before)
		after := tunnel4()
		after.Addrs[0].Prefix = prefix("10.5.2.0/32")
		after.Neighs[0].IP = addr("10.5.1.0")
		after.Routes[0].Dst, after.Routes[0].Gateway = prefix("10.5.1.0/24"), addr("10.5.1.0")
		f.apply(after)
	},
	"leftover of ours on somebody else's link goes": func(f *fixture) {
		f.hand(datapath.Set,
			datapath.Route{Dst: prefix("10.5.77.0/24"), Gateway: addr("192.0.2.7"), Link: "eth0", Protocol: protocol},
			datapath.Route{Dst: prefix("fd00:5:0:77::/64"), Gateway: addr("2001:db8::7"), Link: "eth0", Metric: 1024, Protocol: protocol},
			datapath.Route{Dst: prefix("10.5.78.0/24"), Type: datapath.Blackhole, Protocol: protocol})
		f.apply(tunnel4())
	},
	"what is outside the networks is not ours": func(f *fixture) {
		outside := []datapath.Route{
			{Dst: prefix("10.6.2.0/24"), Gateway: addr("192.0.2.7"), Link: "eth0", Protocol: protocol},
			{Dst: prefix("10.0.0.0/8"), Gateway: addr("192.0.2.7"), Link: "eth0", Protocol: protocol},
			{Dst: prefix("0.0.0.0/0"), Gateway: addr("192.0.2.254"), Link: "eth0", Protocol: boot},
			{Dst: prefix("::/0"), Gateway: addr("2001:db8::254"), Link: "eth0", Metric: 1024, Protocol: boot},
		}
		for _, r := range outside {
			f.hand(datapath.Set, r)
		}
		f.apply(join(tunnel4(), tunnel6()))
		f.apply(datapath.State{})
		f.scope.Networks = append(f.scope.Networks, prefix("0.0.0.0/0"), prefix("::/0"))
		f.scope.Protocol = 0
		for _, r := range outside {
			r.Foreign = true
			if got := f.route(r.Dst.String()); len(got) != 1 || got[0] != r {
				f.Errorf("route is now %v, want %v", got, r)
			}
		}
	},
	"deletion takes the lowest metric first": func(f *fixture) {
		low, high := gateways().Routes[0], gateways().Routes[0]
		high.Metric = 9
		f.apply(datapath.State{Routes: []datapath.Route{high}})
		f.apply(datapath.State{Routes: []datapath.Route{high, low}})
		f.apply(datapath.State{Routes: []datapath.Route{high}})
	},
	"route of ours with what we never set is replaced": func(f *fixture) {
		want := gateways()
		f.apply(want)
		want.Routes[0].Metric = 0
		odd := want.Routes[0]
		odd.Gateway, odd.Protocol = netip.Addr{}, boot // straight to the link
		f.hand(datapath.Set, odd)
		f.apply(want)
	},
	"route stays foreign at another metric": func(f *fixture) {
		foreign := gateways().Routes[0]
		foreign.Metric, foreign.Protocol = 200, boot
		f.hand(datapath.Set, foreign)
		f.apply(gateways())
		if got := f.route("10.5.12.0/24"); len(got) != 2 {
			f.Errorf("routes are %v, want ours and the foreign one", got)
		}
	},
}

var failureCases = map[string]func(*fixture){
	"unreachable gateway does not stop the others": func(f *fixture) {
		want := gateways()
		bad := datapath.Route{Dst: prefix("10.5.66.0/24"), Gateway: addr("203.0.113.1"), Link: "eth0", Protocol: protocol}
		bad6 := datapath.Route{Dst: prefix("fd00:5:0:66::/64"), Gateway: addr("2001:db8:66::1"), Link: "eth0", Metric: 1024, Protocol: protocol}
		want.Routes = append([]datapath.Route{bad, bad6}, want.Routes...)
		n, err := f.tryApply(want)
		if n != 5 {
			f.Errorf("took %d operations, want 5", n)
		}
		f.failures(err, bad, bad6)
		if !datapath.OnlyRoutes(err, len(want.Routes)) {
			f.Errorf("OnlyRoutes is false for %v", err)
		}
		f.expect(gateways())
	},
	"missing link fails what hangs on it only": func(f *fixture) {
		s := tunnel4()
		s.Routes = append(s.Routes, gateways().Routes[2])
		err := f.kernel.Do(f.Context(), sets(datapath.State{Addrs: s.Addrs, FDB: s.FDB[:1], Neighs: s.Neighs[:1], Routes: s.Routes[1:]}))
		f.failures(err, s.Addrs[0], s.FDB[0], s.Neighs[0], s.Routes[1])
		if !errors.Is(err, unix.ENODEV) {
			f.Errorf("error is not ENODEV: %v", err)
		}
		f.expect(datapath.State{Routes: s.Routes[2:]})
	},
	"IPv6 routes from the underlay to a tunnel and back": func(f *fixture) {
		plain := datapath.State{Routes: slices.Clone(tunnel6().Routes)}
		for i := range plain.Routes {
			r := &plain.Routes[i]
			r.Gateway, r.Link, r.OnLink = addr(fmt.Sprintf("2001:db8::%d", 2+i)), "eth0", false
		}
		for range 2 {
			f.apply(plain)
			f.expect(plain)
			f.apply(tunnel6())
			f.expect(tunnel6())
		}
	},
	"route through a link that is down": func(f *fixture) {
		want := tunnel4()
		f.apply(datapath.State{Links: want.Links, Addrs: want.Addrs})
		f.setUp("vx.1", false)
		f.failures(f.kernel.Do(f.Context(), sets(datapath.State{Routes: want.Routes[:1]})), want.Routes[0])
	},
	"set of a link that is not there": func(f *fixture) {
		l := tunnel4().Links[0]
		f.failures(f.kernel.Do(f.Context(), []datapath.Op{{Verb: datapath.Set, Object: l}}), l)
	},
	"make of a link that is there": func(f *fixture) {
		want := tunnel4()
		f.apply(want)
		f.failures(f.kernel.Do(f.Context(), []datapath.Op{{Verb: datapath.Make, Object: want.Links[0]}}), want.Links[0])
		f.expect(want)
	},
	"underlay interface that is not there": func(f *fixture) {
		want := tunnel4()
		want.Links[0].VXLAN.Parent = "eth9"
		_, err := f.tryApply(want)
		f.failures(err, want.Links[0])
	},
	"many failures are all told": func(f *fixture) {
		want := many(2000)
		f.apply(datapath.State{Links: want.Links})
		for i := range want.Routes {
			want.Routes[i].OnLink = false // and then no gateway can be reached
		}
		err := f.kernel.Do(f.Context(), sets(datapath.State{Routes: want.Routes}))
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok || len(joined.Unwrap()) != len(want.Routes) {
			f.Errorf("error is of %T, want %d failures", err, len(want.Routes))
		}
		f.expect(datapath.State{Links: want.Links})
	},
}
