package chaos

import (
	"fmt"
	"slices"
	"time"
)

// belief is that a key is the host's own.
type belief struct {
	host, key string
	from, to  moment
	rev       uint64 // that it rests on
}

// beliefs puts a run's notes together. A belief ends with its deadline, with the
// next one, when it is dropped, or when the run ends.
func beliefs(notes []note, end moment) []belief {
	by := make(map[string][]note)
	for _, n := range notes {
		if n.Kind == hold || n.Kind == drop {
			by[n.Host] = append(by[n.Host], n)
		}
	}
	var all []belief
	for host, ns := range by {
		slices.SortStableFunc(ns, func(a, b note) int { return int(a.At.sub(b.At)) })
		for i, n := range ns {
			if n.Kind != hold {
				continue
			}
			b := belief{host: host, key: n.Key, from: n.At, to: min(n.Until, end), rev: n.Rev}
			if i+1 < len(ns) {
				b.to = min(b.to, ns[i+1].At)
			}
			if b.to > b.from {
				all = append(all, b)
			}
		}
	}
	slices.SortFunc(all, func(a, b belief) int { return int(a.from.sub(b.from)) })
	return all
}

// verdict is what is wrong with a run.
type verdict struct {
	twice      []string      // two hosts believed that a subnet is theirs
	together   time.Duration // for how long, in all
	superseded []string      // a host believed so after the store had given it away, or let it expire
	overwrites []string      // a write or a delete of another host's key
}

// judge compares what hosts believed with each other and with what the store
// says has happened.
func judge(events []event, notes []note) verdict {
	var v verdict
	all := beliefs(notes, now())
	keys := make(map[string][]belief)
	for _, b := range all {
		keys[b.key] = append(keys[b.key], b)
	}
	for key, bs := range keys {
		var episode [2]string // the last pair, so that each renewal is not another
		for i, b := range bs {
			for _, c := range bs[:i] {
				if b.host == c.host || c.to <= b.from {
					continue
				}
				d := min(b.to, c.to).sub(b.from)
				v.together += d
				if pair := [2]string{c.host, b.host}; pair != episode && pair != [2]string{episode[1], episode[0]} {
					episode = pair
					v.twice = append(v.twice, fmt.Sprintf("%s is both of %s and, since %d, of %s for %v at least", key, c.host, b.from, b.host, d))
				}
			}
		}
	}
	for _, e := range events {
		if path := prefix + "/subnets/" + e.lease(); e.Node.Key != path {
			continue
		}
		for _, b := range keys[e.lease()] {
			away := e.Action == "expire" || !e.removes() && owner(e.Node.Value) != b.host
			if away && e.index() > b.rev && b.from < b.to && e.Seen < b.to {
				v.superseded = append(v.superseded, fmt.Sprintf("%s: %s believed in revision %d for %v after %s of revision %d by %s",
					b.key, b.host, b.rev, b.to.sub(e.Seen), e.Action, e.index(), owner(e.Node.Value)))
			}
		}
		if e.PrevNode == nil || e.Action == "expire" {
			continue
		}
		before := owner(e.PrevNode.Value)
		switch {
		case !e.removes() && owner(e.Node.Value) != before:
			v.overwrites = append(v.overwrites, fmt.Sprintf("%s at revision %d: %s by %s over %s", e.lease(), e.index(), e.Action, owner(e.Node.Value), before))
		case e.removes() && !asked(notes, before, e):
			v.overwrites = append(v.overwrites, fmt.Sprintf("%s at revision %d: %s of a key of %s, which did not ask for it", e.lease(), e.index(), e.Action, before))
		}
	}
	return v
}

// asked reports whether the host had wanted to delete its key before the event.
func asked(notes []note, host string, e event) bool {
	return slices.ContainsFunc(notes, func(n note) bool {
		return n.Kind == remove && n.Host == host && n.Key == e.lease() && n.Call < e.Seen
	})
}
