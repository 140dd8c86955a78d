package udp

import (
	"flanneld/backend"
	"flanneld/backend/udp/engine"
)

// flatten lists counters by name. The order is always the same.
func flatten(c engine.Counters) []backend.Counter {
	var all []backend.Counter
	add := func(name string, value uint64) {
		all = append(all, backend.Counter{Name: "udp_" + name, Value: value})
	}
	for _, way := range []struct {
		name string
		d    engine.Direction
	}{{"tx", c.Tx}, {"rx", c.Rx}} {
		add(way.name+"_packets", way.d.Packets)
		add(way.name+"_bytes", way.d.Bytes)
		add(way.name+"_messages", way.d.Messages)
		add(way.name+"_units", way.d.Units)
		add(way.name+"_calls", way.d.Calls)
		for reason, n := range way.d.Drops {
			add(way.name+"_dropped_"+engine.Reason(reason).String(), n)
		}
	}
	add("icmp_sent", c.ICMP)
	add("icmp_suppressed", c.ICMPSuppressed)
	add("trains_sent_piecewise", c.Piecewise)
	add("packets_fragmented", c.Fragmented)
	add("waits", c.Waits)
	return all
}

// plus adds counters of the same names.
func plus(a, b []backend.Counter) []backend.Counter {
	sum := append([]backend.Counter(nil), a...)
	for i := range sum {
		sum[i].Value += b[i].Value
	}
	return sum
}
