package mirror

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

// host is one that leases subnets, as the model knows it.
type host struct {
	id    int
	on    int // the side that it uses
	lease subnet.Lease
	lives bool
	old   bool // of an older release: no node id, and it does not look after its key
}

// model is hosts on two sides, and a mirror between them.
type model struct {
	*lab
	rng    *rand.Rand
	sides  [2]*space
	hosts  []*host
	runs   bool       // the mirror
	cut    bool       // answers to the mirror are lost at times
	mu     sync.Mutex // held by the test but while it waits
	unsafe bool       // a side was wiped, or the mirror was away: copies without an original may be left
	log    []string
}

// wait lets others work meanwhile.
func (m *model) wait(f func()) {
	m.mu.Unlock()
	defer m.mu.Lock()
	f()
}

func (m *model) note(format string, args ...any) {
	m.log = append(m.log, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// check is called before each write of the mirror: it writes over no original of a live host
// where that host is, and deletes copies only.
func (m *model) check(on int) func(op string, was, l subnet.Lease) {
	return func(op string, was, l subnet.Lease) {
		if op == "refresh" {
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.note("mirror: %s on %s: %s %s", op, m.sides[on].name, l.Key(), show(l))
		now := m.sides[on].get(was.Key())
		switch {
		case op == "delete" && was.Mirror == "":
			m.Errorf("the mirror deletes the original %s", was.Key())
		case op == "renew" && was.Mirror == "" && now.Same(was):
			for _, h := range m.hosts {
				if h.lives && h.on == on && h.lease.Same(was) && !m.twins(h) && !m.unsafe {
					m.Errorf("the mirror writes over the original of host %d: %s with %s", h.id, show(was), show(l))
				}
			}
		}
	}
}

// twins reports whether the key is held on both sides by hosts that are alike.
func (m *model) twins(h *host) bool {
	return slices.ContainsFunc(m.hosts, func(o *host) bool {
		return o != h && o.lives && o.lease.Key() == h.lease.Key() && sameHost(o.lease, h.lease)
	})
}

// mac makes a host's data differ from what it was.
func (m *model) mac() string { return strconv.Itoa(m.rng.IntN(1 << 30)) }

// start has a host lease a subnet on its side, as Acquire does.
func (m *model) start(h *host) {
	s := m.sides[h.on]
	want := subnet.Lease{V4: subnet.Claim{PublicIP: lease("10.5.1.0/24", fmt.Sprintf("192.0.2.%d", h.id), "", "").V4.PublicIP, Data: `{"VtepMAC":"` + m.mac() + `"}`}, Type: "vxlan"}
	if !h.old {
		want.Node = "n" + strconv.Itoa(h.id)
	}
	h.lives = true
	for k, l := range s.raw() {
		if sameHost(l, want) {
			want.V4.Subnet = k.V4
			h.lease = want
			m.note("host %d adopts %s on %s", h.id, k, s.name)
			m.write(h, m.ttl(l))
			return
		}
	}
	previous := h.lease.Key()
	for range 100 {
		if k := previous; k != (subnet.Key{}) {
			want.V4.Subnet = k.V4
		} else {
			want.V4.Subnet = key(fmt.Sprintf("10.5.%d.0/24", 1+m.rng.IntN(12))).V4
		}
		previous = subnet.Key{}
		if _, err := s.Store.Create(m.Context(), want, day); err == nil {
			h.lease = want
			m.note("host %d takes %s on %s", h.id, want.Key(), s.name)
			m.wait(func() { time.Sleep(moment) })
			return
		}
	}
	m.note("host %d finds nothing free on %s", h.id, s.name)
	h.lives = false
}

// moment is the time that a host takes to start: what it writes on two sides can be told
// apart by when it was seen.
const moment = 100 * time.Millisecond

// write has a host write its lease.
func (m *model) write(h *host, ttl time.Duration) {
	m.sides[h.on].put(h.lease, ttl)
	m.wait(func() {
		time.Sleep(moment)
		synctest.Wait()
	})
}

func (m *model) ttl(l subnet.Lease) time.Duration {
	if l.Reserved() {
		return 0
	}
	return day
}

// heal has live hosts of this release look after their keys, as Hold does. It reports
// whether one had to.
func (m *model) heal() (any bool) {
	for _, h := range m.hosts {
		if !h.lives {
			continue
		}
		now, there := m.sides[h.on].raw()[h.lease.Key()]
		switch {
		case there && now.Same(h.lease):
		case there && !sameHost(now, h.lease):
			m.note("host %d lost %s on %s", h.id, h.lease.Key(), m.sides[h.on].name)
			h.lease = subnet.Lease{}
			m.start(h)
			any = true
		case !there && h.old:
			m.note("host %d of an older release ends", h.id)
			h.lives = false
		case !h.old || !now.SameClaim(h.lease):
			m.note("host %d writes %s on %s again over %s", h.id, h.lease.Key(), m.sides[h.on].name, show(now))
			ttl := day
			if there {
				ttl = m.ttl(now)
			}
			m.write(h, ttl)
			any = true
		}
	}
	return any
}

// sleep lets time pass. Hosts refresh each hour.
func (m *model) sleep(d time.Duration) {
	for d > 0 {
		step := min(d, time.Hour)
		m.wait(func() {
			time.Sleep(step)
			synctest.Wait()
		})
		d -= step
		if step == time.Hour {
			for _, h := range m.hosts {
				if now := m.sides[h.on].get(h.lease.Key()); h.lives && now.Same(h.lease) && !now.Reserved() {
					_, _, _ = m.sides[h.on].Store.Refresh(m.Context(), h.lease, day)
				}
			}
		}
	}
}

func (m *model) pick() *host {
	if len(m.hosts) == 0 {
		return nil
	}
	return m.hosts[m.rng.IntN(len(m.hosts))]
}

// act does one thing at random.
func (m *model) act() {
	h, s := m.pick(), m.sides[m.rng.IntN(2)]
	switch n := m.rng.IntN(20); {
	case len(m.hosts) < 6 && n < 4 || h == nil:
		h = &host{id: len(m.hosts) + 1, on: m.rng.IntN(2), old: m.rng.IntN(4) == 0}
		m.hosts = append(m.hosts, h)
		m.start(h)
	case n < 8: // it moves, or starts again
		if n < 7 && !(h.old && m.unsafe) {
			h.on = 1 - h.on
		}
		m.start(h)
	case n < 10: // it changes what it publishes
		if now := m.sides[h.on].get(h.lease.Key()); h.lives && now.Same(h.lease) {
			h.lease.V4.Data = `{"VtepMAC":"` + m.mac() + `"}`
			m.note("host %d changes", h.id)
			m.write(h, m.ttl(now))
		}
	case n < 11:
		m.note("host %d dies", h.id)
		h.lives = false
	case n < 12: // an operator removes a lease or a copy
		for k := range s.raw() {
			m.note("%s is removed from %s", k, s.name)
			s.Remove(wire.Key(k))
			break
		}
	case n < 13: // and makes a reservation of one
		if now := m.sides[h.on].get(h.lease.Key()); h.lives && !h.old && now.Same(h.lease) {
			m.note("%s is reserved on %s", h.lease.Key(), m.sides[h.on].name)
			m.write(h, 0)
		}
	case n < 14:
		m.note("%s is wiped", s.name)
		m.unsafe = true
		s.RemoveAll()
	case n < 15:
		s.Churn(1001)
	case n < 16:
		m.note("%s is away", s.name)
		m.unsafe = true // what goes meanwhile may look like a wipe
		s.setDown(errors.New("away"))
	case n < 17:
		for _, s := range m.sides {
			s.setDown(nil)
		}
	case n < 18:
		if m.unsafe = true; m.runs {
			m.wait(func() { m.end() })
		} else {
			m.v2.setDown(nil) // it begins with the configuration
			m.v3.setDown(nil)
			m.wait(m.begin)
		}
		m.runs = !m.runs
		m.note("mirror runs: %t", m.runs)
	case n < 19:
		m.sleep(time.Duration(m.rng.IntN(30)) * time.Hour)
	}
	if m.rng.IntN(3) > 0 {
		m.sleep(time.Duration(m.rng.Int64N(int64(3 * time.Second))))
	}
	if m.rng.IntN(2) > 0 {
		m.heal()
	}
}

// settled has everybody work until nobody has more to do, and looks at the result.
func (m *model) settled() {
	for _, s := range m.sides {
		s.setDown(nil)
	}
	if !m.runs {
		m.runs = true
		m.wait(m.begin)
	}
	for i := 0; ; i++ {
		m.sleep(3 * time.Minute)
		if !m.heal() {
			break
		}
		if i > 20 {
			m.Fatal("hosts and the mirror do not come to an end")
		}
	}
	m.cut = false
	before := m.sides[0].count() + m.sides[1].count()
	m.sleep(30 * time.Minute)
	if n := m.sides[0].count() + m.sides[1].count() - before; n > 0 {
		m.Errorf("%d writes although all is in step", n)
	}
	problems := ""
	for _, p := range m.mirror.Report().Problems {
		problems += p.Why + "\n"
	}
	for _, h := range m.hosts {
		if !h.lives {
			continue
		}
		k := h.lease.Key()
		m.want(m.sides[h.on], h.lease, "")
		there := m.sides[1-h.on].get(k)
		if m.twins(h) || strings.Contains(problems, k.String()) {
			continue
		}
		if there.Reserved() && there.Mirror == "" && there.Same(h.lease) {
			continue // an operator's, which says what the host does
		}
		if m.want(m.sides[1-h.on], h.lease, m.sides[h.on].name); !there.Reserved() && time.Until(there.Expires) < LeastTTL {
			m.Errorf("the copy lives for %s only", time.Until(there.Expires))
		}
		if there.Reserved() != m.sides[h.on].get(k).Reserved() {
			m.Errorf("host %d: %s, and its copy %s", h.id, show(m.sides[h.on].get(k)), show(there))
		}
	}
	for on, s := range m.sides {
		for k, l := range s.raw() {
			if o := m.sides[1-on].get(k); l.Mirror != "" && !m.unsafe && (o.Mirror != "" || !o.V4.Subnet.IsValid()) {
				m.Errorf("%s has the copy %s without an original", s.name, k)
			}
		}
	}
}

// TestMirrorModel has hosts, operators and stores do anything in any order. The seed of a
// failure is in its name: MIRROR_SEED=7 has it alone.
func TestMirrorModel(t *testing.T) {
	first, last := uint64(1), uint64(8)
	if testing.Short() {
		last = 3
	}
	if s := os.Getenv("MIRROR_SEED"); s != "" {
		first, _ = strconv.ParseUint(s, 10, 64)
		last = first
	}
	if s := os.Getenv("MIRROR_SEEDS"); s != "" {
		last, _ = strconv.ParseUint(s, 10, 64)
	}
	for seed := first; seed <= last; seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &model{lab: newLab(t), rng: rand.New(rand.NewPCG(seed, 0)), runs: true}
				m.sides = [2]*space{m.v2, m.v3}
				for on, s := range m.sides {
					s.before = m.check(on)
					s.loses = func() bool {
						m.mu.Lock()
						defer m.mu.Unlock()
						return m.cut && m.rng.IntN(4) == 0
					}
				}
				m.begin()
				m.mu.Lock()
				for range 4 {
					m.unsafe, m.cut = false, m.rng.IntN(2) == 0
					for range 15 {
						m.act()
						if t.Failed() {
							break
						}
					}
					m.settled()
					if t.Failed() {
						t.Log(strings.Join(m.log[max(len(m.log)-60, 0):], "\n"))
						break
					}
					m.sleep(2 * day) // what was left has expired, and dead hosts' leases
				}
				m.mu.Unlock()
				m.end()
			})
		})
	}
}
