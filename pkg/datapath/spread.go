package datapath

const (
	// crowd is how many routes by a gateway one operation after the other are given the
	// same level. In IPv4 the kernel makes a next hop only after it has looked for an equal
	// one, in a list that all of one device, protocol, metric and scope share (fib_find_info
	// of net/ipv4/fib_semantics.c). With one scope 5,000 routes take it 0.4 s and 20,000 take
	// it 8 s, in which nobody else can change the network; with these 0.06 s and 0.35 s.
	crowd = 256
	// levels are the scopes from RT_SCOPE_UNIVERSE to the last that rtnetlink(7) leaves to
	// users. To the kernel all of them mean that the destination is further away than a link.
	levels = 200
)

// spread gives many routes different levels. The first ones have none: most clusters are
// smaller than a crowd, and their routes look as an administrator expects.
func spread(ops []Op) {
	n := 0
	for i, op := range ops {
		r, ok := op.Object.(Route)
		if !ok || op.Verb != Set || !r.Gateway.Is4() {
			continue
		}
		if r.Level = uint8(n / crowd % levels); r.Level > 0 {
			ops[i].Object = r
		}
		n++
	}
}
